import { element } from "./element.js";

// Everything that comes from models or files is put into the page as text, never as markup.
const at = (id) => document.getElementById(id);
const images = []; // {file, name, url}

const say = (text, bad = false) => {
  at("status").textContent = text;
  at("status").classList.toggle("bad", bad);
};
const percent = (p) => (p === null ? "no verdict" : `${(100 * p).toFixed(1)} %`);
const called = (index) => `image ${index + 1}`;

function show() {
  at("images").replaceChildren(
    ...images.map((image, index) => {
      const item = element("li", null);
      const name = called(index);
      item.append(element("img", null, { src: image.url, alt: `${name}: ${image.name}` }));
      const label = element("div", null, { class: "name" });
      label.append(element("strong", name), " ", element("bdi", image.name));
      const remove = element("button", "Remove", { type: "button", "aria-label": `Remove ${name}` });
      remove.addEventListener("click", () => drop(index));
      item.append(label, remove);
      return item;
    }),
  );
  at("go").textContent = images.length > 2 ? "Rank" : "Compare";
}

function add(files) {
  const taken = [...files].filter((file) => file.type.startsWith("image/"));
  if (taken.length < files.length) say("Only images are taken: PNG, JPEG or WebP.", true);
  for (const file of taken) {
    images.push({ file, name: file.name || "pasted", url: URL.createObjectURL(file) });
  }
  show();
  if (taken.length === files.length) say(images.length === 1 ? "1 image; one more is needed." : `${images.length} images.`);
}

function drop(index) {
  const [gone] = images.splice(index, 1);
  URL.revokeObjectURL(gone.url);
  show();
  say(`${images.length} images.`);
  (at("images").querySelectorAll("button")[Math.min(index, images.length - 1)] ?? at("files")).focus();
}

function bar(label, p) {
  const row = element("div", null, { class: "order" });
  row.append(element("span", label, { class: "label" }));
  const text = percent(p);
  // A meter has a name and a value that are read out.
  if (p !== null) row.append(element("meter", text, { min: 0, max: 1, value: p, "aria-label": `${label}: ${text}` }));
  else row.append(element("span", "–", { "aria-hidden": "true" }));
  row.append(element("output", text));
  return row;
}

function tellComparison(told) {
  const side = told.verdict === "first" ? 0 : 1;
  at("verdict").textContent = told.verdict === null
    ? `No verdict: ${told.reason}.`
    : `People would prefer ${called(side)}, with ${percent(side === 0 ? told.p_first : 1 - told.p_first)}.`;
  const parts = [
    element("h3", "Probability that people prefer image 1"),
    bar("both orders", told.p_first),
    bar("image 1 shown first", told.p_first_forward),
    bar("image 2 shown first", told.p_first_swapped),
  ];
  if (told.orders_agree !== null) {
    parts.push(element("p", told.orders_agree ? "Both orders agree." : "The two orders disagree.", { class: "soft" }));
  }
  parts.push(element("h3", "What listeners made of the reasons"));
  const readers = Object.entries(told.p_read);
  if (readers.length === 0) parts.push(element("p", "No listener was asked.", { class: "soft" }));
  for (const [name, p] of readers) parts.push(bar(`${name}, both orders`, p));
  if (told.decided_by !== "author") parts.push(bar("the author of the reasons", told.p_author), element("p", `${told.decided_by} decides.`, { class: "soft" }));
  const facts = element("table", null, { id: "measured" });
  facts.append(element("caption", told.measured.label, { class: "soft" }));
  for (const [name, ...texts] of [["", called(0), called(1)], ...told.measured.table]) {
    const row = element("tr", null);
    row.append(element("th", name, { scope: "row" }), ...texts.map((text) => element("td", text)));
    facts.append(row);
  }
  parts.push(element("h3", "Reasons"));
  for (const sample of told.samples) {
    const shown = sample.order === "forward" ? "image 1 shown first" : "image 2 shown first, so that “first” means image 2";
    const verdict = sample.side === null ? `no verdict (${sample.malformed})` : `for ${called(sample.side === "first" ? 0 : 1)}`;
    const heard = Object.entries(sample.listener).map(([name, p]) => `; ${name} then gives image 1 ${percent(p)}`).join("");
    parts.push(element("p", `${shown}: ${verdict}${heard}`, { class: "soft" }), element("p", sample.trace.trim() || "(no words)", { class: "trace", dir: "auto" }));
  }
  at("told").replaceChildren(...parts, facts);
}

function tellRanking(told) {
  const best = told.order[0];
  at("verdict").textContent = best === undefined ? "No verdict: no comparison came out." : `People would prefer ${called(best)}.`;
  const table = element("table", null);
  table.append(element("caption", "Images, best first", { class: "soft" }));
  const head = element("tr", null);
  for (const name of ["Rank", "Image", "Preferred to another", "Strength"]) head.append(element("th", name, { scope: "col" }));
  table.append(head);
  const rest = told.images.map((_, index) => index).filter((index) => !told.order.includes(index));
  for (const index of [...told.order, ...rest]) {
    const image = told.images[index];
    const row = element("tr", null);
    const strength = image.strength.value === null ? "–" : image.strength.value.toFixed(2);
    row.append(element("td", image.rank ?? "–"), element("th", called(index), { scope: "row" }), element("td", percent(image.win_rate)), element("td", strength));
    table.append(row);
  }
  const parts = [table];
  for (const cycle of told.cycles) parts.push(element("p", `A circle: ${[...cycle, cycle[0]].map(called).join(" is preferred to ")}.`));
  parts.push(element("p", "Compare two of them alone to read the reasons.", { class: "soft" }));
  at("told").replaceChildren(...parts);
}

async function ask(event) {
  event.preventDefault();
  if (images.length < 2) return say("At least two images are needed.", true);
  if (!at("prompt").value.trim()) return say("The prompt is empty.", true);
  const body = new FormData();
  body.append("prompt", at("prompt").value);
  const pair = images.length === 2;
  if (pair) for (const [index, name] of ["first", "second"].entries()) body.append(name, images[index].file, "image");
  else for (const image of images) body.append("images", image.file, "image");
  at("go").disabled = true;
  at("result").hidden = true;
  say("Judging…");
  try {
    const answer = await fetch(pair ? "v1/compare" : "v1/rank", { method: "POST", body });
    const told = await answer.json();
    if (!answer.ok) {
      const where = /\.(\d+)$/.exec(told.param ?? "");
      const which = told.param === "first" ? "image 1: " : told.param === "second" ? "image 2: " : where ? `${called(Number(where[1]))}: ` : "";
      say(`${which}${told.message}${told.retryable ? " Try again." : ""}`, true);
      return;
    }
    (pair ? tellComparison : tellRanking)(told);
    at("result").hidden = false;
    say("Done.");
    at("result-title").focus();
  } catch {
    say("The server cannot be reached.", true);
  } finally {
    at("go").disabled = false;
  }
}

at("form").addEventListener("submit", ask);
at("files").addEventListener("change", () => {
  add(at("files").files);
  at("files").value = "";
});
for (const kind of ["dragenter", "dragover"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    at("drop").classList.add("over");
  });
}
document.addEventListener("dragleave", (event) => {
  if (event.relatedTarget === null) at("drop").classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  at("drop").classList.remove("over");
  add(event.dataTransfer.files);
});
document.addEventListener("paste", (event) => {
  if (event.clipboardData.files.length) {
    event.preventDefault();
    add(event.clipboardData.files);
  }
});
show();
