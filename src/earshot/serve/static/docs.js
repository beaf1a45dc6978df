import { element, table } from "./element.js";

const described = await (await fetch("openapi.json")).json();
const CODE_ASKS = "http://127.0.0.1:8379"; // openapi.py's, for which this server stands here
const HERE = new URL(".", location).href.replace(/\/$/, "");
const resolve = (schema) => (schema.$ref ? described.components.schemas[schema.$ref.split("/").pop()] : schema);

// Of each field its name, its kind and what it is; fields within fields follow them.
function* fields(schema, before = "") {
  const { properties = {}, required = [] } = resolve(schema);
  for (const [name, given] of Object.entries(properties)) {
    const own = given.anyOf?.find(({ type }) => type !== "null") ?? given;
    const item = own.items?.anyOf?.[0] ?? own.items;
    const { type = "object", description = "" } = resolve(item ?? own);
    const kind = `${item ? "list of " : ""}${type === "null" ? "nothing" : type}${required.includes(name) ? "" : ", optional"}`;
    const least = own.minItems > 1 ? `At least ${own.minItems}. ` : "";
    yield [before + name, kind, least + (own.description ?? description)];
    yield* fields(item ?? own, `${before}${name}${item ? "[]" : ""}.`);
  }
}

function add(path, method, about) {
  const section = element("section", null);
  const title = `${method.toUpperCase()} ${path}`;
  section.append(element("h2", title), element("p", about.summary));
  const asked = about.requestBody?.content["application/json"];
  const body = element("textarea", null, { "aria-label": `Body of ${title}`, spellcheck: "false" });
  if (asked) {
    section.append(table("It takes", fields(asked.schema)), element("p", `It answers: ${about.responses["200"].description}.`));
    body.value = JSON.stringify(asked.example, null, 2);
    section.append(body);
  }
  const run = element("button", "Run", { type: "button", "aria-label": `Run ${title}` });
  const told = element("pre", "", { role: "status", "aria-label": `Answer of ${title}` });
  run.addEventListener("click", async () => {
    told.textContent = "…";
    try {
      const options = asked ? { method: "POST", body: body.value, headers: { "content-type": "application/json" } } : {};
      const answer = await fetch(path.slice(1), options);
      const json = answer.headers.get("content-type").startsWith("application/json");
      told.textContent = `${answer.status}\n${json ? JSON.stringify(await answer.json(), null, 2) : await answer.text()}`;
    } catch {
      told.textContent = "The server cannot be reached.";
    }
  });
  section.append(element("p", null));
  section.lastChild.append(run);
  section.append(told);
  for (const { label, source } of about["x-codeSamples"] ?? []) {
    const code = element("pre", source.replaceAll(CODE_ASKS, HERE), { "aria-label": `${label} of ${title}`, role: "group" });
    section.append(element("h3", label), code);
  }
  document.getElementById("routes").append(section);
}

for (const [path, methods] of Object.entries(described.paths)) {
  for (const [method, about] of Object.entries(methods)) add(path, method, about);
}
