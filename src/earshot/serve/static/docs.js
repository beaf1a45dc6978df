import { element } from "./element.js";

function add(path, method, about) {
  const section = element("section", null);
  const title = `${method.toUpperCase()} ${path}`;
  section.append(element("h2", title), element("p", about.summary ?? ""));
  const example = about.requestBody?.content["application/json"].example;
  const body = element("textarea", null, { "aria-label": `Body of ${title}`, spellcheck: "false" });
  if (example) {
    body.value = JSON.stringify(example, null, 2);
    section.append(body);
  }
  const run = element("button", "Run", { type: "button", "aria-label": `Run ${title}` });
  const told = element("pre", "", { role: "status", "aria-label": `Answer of ${title}` });
  run.addEventListener("click", async () => {
    told.textContent = "…";
    try {
      const options = example ? { method: "POST", body: body.value, headers: { "content-type": "application/json" } } : {};
      const answer = await fetch(path.slice(1), options);
      told.textContent = `${answer.status}\n${JSON.stringify(await answer.json(), null, 2)}`;
    } catch {
      told.textContent = "The server cannot be reached.";
    }
  });
  section.append(element("p", null));
  section.lastChild.append(run);
  section.append(told);
  document.getElementById("routes").append(section);
}

const described = await (await fetch("openapi.json")).json();
for (const [path, methods] of Object.entries(described.paths)) {
  for (const [method, about] of Object.entries(methods)) add(path, method, about);
}
