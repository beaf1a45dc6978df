import { element, table } from "./element.js";

// Everything that comes from models or files is put into the page as text, never as markup.
const at = (id) => document.getElementById(id);
const images = []; // {file, name, url}, numbered in the order in which they were given
const MOST = Number(at("files").dataset.most);

const say = (text, bad = false) => {
  at("status").textContent = text;
  at("status").classList.toggle("bad", bad);
};
const percent = (p) => (p === null ? "no verdict" : `${(100 * p).toFixed(1)} %`);
const called = (index) => `image ${index + 1}`;
const soft = (text) => element("p", text, { class: "soft" });

// The images, in their own order or another, and what is said of each: {badge, best, more}.
function show(order = images.keys(), said = []) {
  at("images").replaceChildren(...Array.from(order, (index) => card(index, said[index])));
  at("images").classList.toggle("pair", images.length <= 2);
  at("go").textContent = images.length > 2 ? "Rank" : "Compare";
  at("example").hidden = images.length > 0;
}

function card(index, said = { more: [] }) {
  const image = images[index];
  const item = element("li", null, said.best ? { class: "best" } : {});
  item.append(element("img", null, { src: image.url, alt: `${called(index)}: ${image.name}` }));
  const label = element("div", null, { class: "name" });
  label.append(element("strong", called(index)), element("bdi", image.name));
  if (said.badge) label.append(element("span", said.badge, { class: "badge" }));
  const remove = element("button", "Remove", { type: "button", "aria-label": `Remove ${called(index)}` });
  remove.addEventListener("click", () => drop(index));
  label.append(remove);
  item.append(label, ...said.more);
  return item;
}

// What was said of other images is no longer so.
function forget() {
  at("verdict").hidden = true;
  at("told").replaceChildren();
  show();
}

function add(files) {
  const types = at("files").accept.split(",");
  const taken = [...files].filter((file) => types.includes(file.type));
  const given = images.length + taken.length;
  for (const file of taken.slice(0, MOST - images.length)) {
    images.push({ file, name: file.name || "pasted", url: URL.createObjectURL(file) });
  }
  forget();
  if (taken.length < files.length) say("Only images are taken: PNG, JPEG or WebP.", true);
  else if (given > MOST) say(`${given} images were given; the first ${MOST} are kept, the most that a request may have.`, true);
  else say(given === 1 ? "1 image; one more is needed." : `${given} images.`);
}

function drop(index) {
  const [gone] = images.splice(index, 1);
  URL.revokeObjectURL(gone.url);
  forget();
  say(`${images.length} images.`);
  (at("images").querySelectorAll("button")[Math.min(index, images.length - 1)] ?? at("files")).focus();
}

function bar(label, p) {
  const text = percent(p);
  const row = element("div", null, { class: "order" });
  // It has a name and a value that are read out.
  const meter = { role: "meter", "aria-label": `${label}: ${text}`, "aria-valuemin": 0, "aria-valuemax": 1, "aria-valuenow": p };
  const track = element("div", null, p === null ? { class: "bar" } : { class: "bar", ...meter });
  const fill = element("div", null);
  fill.style.width = `${100 * (p ?? 0)}%`;
  track.append(fill);
  row.append(element("span", label, { class: "label" }), track, element("output", text));
  return row;
}

function headline(told) {
  if (told.samples.length && told.orders_agree === false) return "Undecided: the answer follows the order in which the images are shown.";
  if (told.verdict === null) return `No verdict: ${told.reason}.`;
  const [side, p] = told.verdict === "first" ? [0, told.p_first] : [1, 1 - told.p_first];
  return `People would prefer ${called(side)}, with ${percent(p)}; both orders agree.`;
}

function tellComparison(told) {
  const best = told.orders_agree ? ["first", "second"].indexOf(told.verdict) : -1;
  show(images.keys(), images.map((_, index) => ({ best: index === best, badge: index === best ? "preferred" : "", more: [] })));
  const parts = [
    element("h3", "Probability that people prefer image 1"),
    bar("image 1 shown first", told.p_first_forward),
    bar("image 2 shown first", told.p_first_swapped),
    bar("mean of both orders", told.p_first),
  ];
  parts.push(element("h3", "What listeners made of the reasons"));
  const readers = Object.entries(told.p_read);
  if (readers.length === 0) parts.push(soft("No listener was asked."));
  for (const [name, p] of readers) parts.push(bar(`${name}, both orders`, p));
  if (told.decided_by !== "author") parts.push(bar("the author of the reasons", told.p_author), soft(`${told.decided_by} decides.`));
  parts.push(element("h3", "Reasons"));
  if (told.samples.length === 0) parts.push(soft("Nobody was asked."));
  for (const sample of told.samples) parts.push(reason(sample));
  at("told").replaceChildren(...parts, facts(told.measured));
  return [headline(told), told.samples.length ? "Compared in both orders" : "Answered without asking a model"];
}

// A trace says “first” and “second” of the images as they were shown, which stand beside it in that order.
function reason(sample) {
  const shown = sample.order === "forward" ? [0, 1] : [1, 0];
  const box = element("div", null, { class: "reason" });
  for (const [place, index] of shown.entries()) {
    const figure = element("figure", null);
    figure.append(element("img", null, { src: images[index].url, alt: "" }));
    figure.append(element("figcaption", `${place ? "“second”" : "“first”"}: ${called(index)}`));
    box.append(figure);
  }
  const text = element("div", null);
  text.append(soft(verdictOf(sample)), element("p", sample.trace.trim() || "(no words)", { class: "trace", dir: "auto" }));
  box.append(text);
  return box;
}

function verdictOf(sample) {
  if (sample.side === null) return `No verdict (${sample.malformed}).`;
  const first = sample.side === "first";
  const says = [`Says ${called(first ? 0 : 1)}; its own probability for image 1: ${percent(sample.p_first)}`];
  if (sample.p_first !== 0.5 && first !== sample.p_first > 0.5) says.push(" (the answer was sampled, and fell on the less likely side)");
  for (const [name, p] of Object.entries(sample.listener)) says.push(`; ${name}, from the reason alone: ${percent(p)}`);
  return `${says.join("")}.`;
}

function facts(measured) {
  const made = table(measured.label, [["", called(0), called(1)], ...measured.table]);
  made.id = "measured";
  return made;
}

function tellRanking(told) {
  const said = told.images.map(({ rank, win_rate, strength }) => {
    const { value, low, high } = strength;
    const between = low === null ? "" : ` [${low.toFixed(2)}, ${high.toFixed(2)}]`;
    const more = [bar("preferred to another", win_rate), soft(`strength ${value === null ? "–" : value.toFixed(2)}${between}`)];
    return { best: rank === 1, badge: rank === null ? "no place" : `place ${rank}`, more };
  });
  show([...new Set([...told.order, ...images.keys()])], said);
  const parts = told.cycles.map((cycle) => element("p", `A circle: ${[...cycle, cycle[0]].map(called).join(" is preferred to ")}.`));
  const differ = told.comparisons.filter((one) => one.orders_agree === false).length;
  if (differ) parts.push(element("p", `In ${differ} of ${told.comparisons.length} comparisons the answer follows the order in which the images are shown.`));
  if (told.n_missing) parts.push(element("p", `${told.n_missing} of ${told.comparisons.length} comparisons gave no verdict.`));
  parts.push(soft("Strength: log-odds against the average of these images, with its 95 % interval. Compare two of them alone to read the reasons."));
  at("told").replaceChildren(...parts);
  const winners = told.order.filter((index) => told.images[index].rank === 1);
  const best = winners.length ? `People would prefer ${winners.map(called).join(" and ")}.` : "No verdict: no comparison came out.";
  return [best, `Ranked ${images.length} images by ${told.comparisons.length} comparisons in both orders`];
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
  forget();
  say("Judging…");
  const asked = [...images];
  const start = performance.now();
  try {
    const answer = await fetch(pair ? "v1/compare" : "v1/rank", { method: "POST", body });
    const told = await answer.json();
    if (!answer.ok) {
      const place = { first: 0, second: 1 }[told.param] ?? /\.(\d+)$/.exec(told.param ?? "")?.[1];
      return say(`${place === undefined ? "" : `${called(Number(place))}: `}${told.message}${told.retryable ? " Try again." : ""}`, true);
    }
    if (images.length !== asked.length || images.some((image, index) => image !== asked[index])) return say("The images have changed since; ask again.", true);
    const [verdict, done] = (pair ? tellComparison : tellRanking)(told);
    at("verdict").textContent = verdict;
    at("verdict").hidden = false;
    say(`${done} in ${((performance.now() - start) / 1000).toFixed(1)} s.`);
    at("verdict").focus();
    at("verdict").scrollIntoView(); // with the images right below it
  } catch {
    say("The server cannot be reached.", true);
  } finally {
    at("go").disabled = false;
  }
}

async function tryExample() {
  const names = ["first.png", "second.png"];
  add(await Promise.all(names.map(async (name) => new File([await (await fetch(name)).blob()], name, { type: "image/png" }))));
  at("prompt").value = at("example").dataset.prompt;
  at("form").requestSubmit();
}

at("form").addEventListener("submit", ask);
at("example").addEventListener("click", tryExample);
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
