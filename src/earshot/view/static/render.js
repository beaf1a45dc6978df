// Everything that is shown is put in as text (textContent), never as markup: prompts and traces are other people's.

/** An element with attributes and children; a string among the children is text. */
export function element(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** The same of a drawing, whose attributes are all plain. */
function drawn(name, attributes, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

// Control characters but tab and newline, what has no width, and what turns the direction of writing.
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]+/g;
const MAX_CODES = 6;

/** Somebody else's text, isolated from the text around it; what cannot be seen stands there by its code. */
export function words(text) {
  const node = element("bdi");
  let end = 0;
  for (const match of text.matchAll(UNSEEN)) {
    node.append(text.slice(end, match.index));
    const codes = [...match[0]].slice(0, MAX_CODES).map((c) => "U+" + c.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0"));
    const more = match[0].length > MAX_CODES ? ` and ${match[0].length - MAX_CODES} more` : "";
    node.append(element("span", { class: "code" }, codes.join(" ") + more));
    end = match.index + match[0].length;
  }
  node.append(text.slice(end));
  return node;
}

/** A text that the server may have cut. */
function long(cut) {
  if (!cut) return element("span", { class: "soft" }, "none");
  const node = words(cut.text);
  if (cut.more) node.append(element("span", { class: "soft" }, ` … ${count(cut.more)} more characters`));
  return node;
}

export const count = (n) => n.toLocaleString("en");
const p = (value) => (value === null || value === undefined ? "–" : value.toFixed(2));
const number = (value) => (value === null || value === undefined ? "–" : String(Number(value.toPrecision(4))));
const OUTCOMES = { right: ["right", "as people prefer", "good"], wrong: ["wrong", "against people", "bad"],
  open: ["no majority", "people have no majority", ""] };

/** The side that an answer names, and what people make of it. */
function verdict(row, inFull = false) {
  const [short, full, tone] = OUTCOMES[row.outcome];
  return element("span", {}, element("b", {}, row.side ?? "no side"), ", ", element("span", { class: tone }, inFull ? full : short));
}

function thumbnail(source) {
  const image = element("img", { src: source, alt: "", loading: "lazy", decoding: "async" });
  image.addEventListener("error", () => image.replaceWith(element("span", { class: "none", "aria-hidden": "true" }, "–")));
  return image;
}

/** One row of the list. `pictures(side, size)` is the address of an image; `run` is whose it is, where there are several. */
export function listRow(row, kind, run, pictures, open) {
  const button = element("button", { type: "button", class: "row", "data-index": row.index, onclick: open });
  const facts = element("span", { class: "facts" });
  const say = (...parts) => facts.append(element("span", {}, ...parts));
  if (run) facts.append(element("span", { class: "run" }, words(run)));
  say(verdict(row));
  if (kind === "judged") say("p(first) ", element("b", {}, p(row.p_first)));
  else { say("step ", String(row.step)); say("reward ", element("b", {}, number(row.reward))); }
  say(`votes ${number(row.votes[0])}:${number(row.votes[1])}`);
  const warn = (text) => say(element("span", { class: "bad" }, text));
  if (row.gap !== null) warn("listener differs");
  if (row.flip) warn("order flips");
  if (row.malformed) warn(kind === "judged" ? `${row.malformed} of ${row.samples} malformed` : "malformed");
  button.append(
    thumbnail(pictures("first", "small")), thumbnail(pictures("second", "small")),
    element("span", { class: "words" }, element("span", { class: "prompt" }, words(row.prompt)), facts),
  );
  return element("li", {}, button);
}

const WIDTH = 196, HEIGHT = 82, LEFT = 30, BOTTOM = 66;

/** Lines of several runs over the steps of training. */
function plot(title, series, key) {
  const points = series.flatMap((one) => one.steps.map((step, i) => [step, one[key][i]])).filter(([, y]) => y !== null);
  if (!points.length) return null;
  const ends = (k) => [Math.min(...points.map((at) => at[k])), Math.max(...points.map((at) => at[k]))];
  const [[first, last], [low, high]] = [ends(0), ends(1)];
  const x = (step) => LEFT + ((WIDTH - LEFT - 6) * (step - first)) / (last - first || 1);
  const y = (value) => BOTTOM - ((BOTTOM - 8) * (value - low)) / (high - low || 1);
  const label = (at, from, anchor, text) => drawn("text", { x: at, y: from, "text-anchor": anchor }, text);
  const lines = series.map((one, k) => drawn("polyline", { class: `line${k % 6}`, points: one.steps
    .map((step, i) => (one[key][i] === null ? "" : `${x(step).toFixed(1)},${y(one[key][i]).toFixed(1)}`)).join(" ") }));
  const frame = drawn("path", { class: "frame", d: `M${LEFT} 4V${BOTTOM}H${WIDTH - 6}` });
  return element("div", {}, element("b", {}, title), drawn("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label":
    `${title} by step: from ${number(points[0][1])} at step ${points[0][0]} to ${number(points.at(-1)[1])} at step ${points.at(-1)[0]}` },
    frame, ...lines, label(LEFT - 4, y(low), "end", low.toFixed(2)), label(LEFT - 4, y(high) + 6, "end", high > low ? high.toFixed(2) : ""),
    label(LEFT, HEIGHT - 2, "start", `step ${first}`), label(WIDTH - 6, HEIGHT - 2, "end", String(last))));
}

/** Reward and agreement over the steps of each training. */
export function stepPlots(series) {
  const legend = element("ul", {}, ...series.map((one, k) => element("li", { class: `line${k % 6}` }, words(one.run),
    element("span", { class: "soft" }, one.weights ? `: ${one.weights}` : ""))));
  const other = new Set(series.map((one) => one.weights)).size > 1;
  return [element("div", { class: "plots" }, plot("Reward", series, "reward"), plot("On the listener's side", series, "agrees")), legend,
    other ? element("p", { class: "soft" }, "The rewards are other sums, so that their lines may not be held against one another.") : null]
    .filter((node) => node !== null);
}

function figure(row, side, source, fault) {
  if (side === "original") return element("figure", {}, element("figcaption", {}, element("b", {}, side)), imageOf(side, source, fault));
  const votes = number(row.votes[side === "first" ? 0 : 1]);
  const preferred = row.preferred === side ? element("b", { class: "good" }, ", people's side") : null;
  const caption = element("figcaption", {}, element("b", {}, side), `, ${votes} ${votes === "1" ? "vote" : "votes"}`, preferred);
  const model = row.models?.[side === "first" ? 0 : 1];
  if (model) caption.append(" by ", long(model));
  return element("figure", {}, caption, imageOf(side, source, fault));
}

function imageOf(side, source, fault) {
  const image = element("img", { src: source, alt: `the ${side} image`, decoding: "async" });
  image.addEventListener("load", () => image.classList.toggle("tiny", image.naturalWidth < 300));
  image.addEventListener("error", () => {
    image.replaceWith(element("div", { class: "none" }, "image not at hand", fault ? ": " : "", fault ? words(fault) : ""));
  });
  return image;
}

function numbers(entries) {
  return element("dl", { class: "numbers" }, ...entries.map(([name, value]) =>
    element("div", {}, element("dt", {}, name), element("dd", {}, value))));
}

function heard(listeners) {
  return element("ul", {}, ...listeners.map((l) => element("li", { class: l.differs ? "bad" : "good" },
    "listener", ...(l.name === "listener" ? [] : [" ", words(l.name)]), `: p(first) ${p(l.p_first)}, ${l.differs ? "differs" : "agrees"}`)));
}

function sample(s) {
  const says = s.malformed ? element("span", { class: "bad" }, "malformed: ", long(s.malformed))
    : element("span", {}, "says ", element("b", {}, s.side), `, p(first) ${p(s.p_first)}`);
  const claims = s.claims && element("p", { class: "soft" },
    `claims: ${s.claims.true} true, ${s.claims.false} false, ${s.claims.unchecked} unchecked`);
  return element("div", { class: "sample" }, element("b", {}, s.order === "forward" ? "shown in order" : "shown swapped"), ": ", says,
    s.listeners.length ? heard(s.listeners) : null, claims, element("p", { class: "trace" }, long(s.trace)));
}

/** A row in full, beside that of another run, if there is one; `everywhere` shows all rows of the same pair. */
export function detailOf(row, other, kind, pictures, everywhere, turnTo) {
  const heading = element("h2", { class: "prompt", id: "detail-prompt" }, long(row.prompt));
  const place = element("p", { class: "soft place" }, element("span", {}, words(row.run)), element("span", {}, words(row.set)),
    element("span", {}, "pair ", long(row.id)),
    element("button", { type: "button", onclick: everywhere }, kind === "judged" ? "this pair everywhere" : "all its completions"));
  if (row.beside.length) place.append(choiceOf(row, other, turnTo));
  const shown = row.original ? ["original", "first", "second"] : ["first", "second"];
  const pair = element("div", { class: row.original ? "pair edit" : "pair" },
    ...shown.map((side) => figure(row, side, pictures(side, "large"), row.fault)));
  if (kind === "rollouts") return [heading, place, pair, ...rollout(row)];
  if (!other) return [heading, place, pair, ...judged(row)];
  const column = (one) => element("section", { "aria-label": one.run }, element("h3", {}, words(one.run)), ...judged(one));
  return [heading, place, pair, element("div", { class: "columns" }, column(row), column(other))];
}

/** Which other run is shown beside. */
function choiceOf(row, other, turnTo) {
  const select = element("select", { onchange: (event) => turnTo(event.target.value) }, element("option", { value: "" }, "nobody"),
    ...row.beside.map((one) => element("option", { value: one.run, selected: one.run === other?.run }, one.run)));
  return element("label", {}, "beside ", select);
}

function judged(row) {
  const entries = [
    ["verdict", verdict(row, true)], ["p(first)", p(row.p_first)],
    ["in order, swapped", element("span", { class: row.flip ? "bad" : "" }, `${p(row.p_forward)}, ${p(row.p_swapped)}${row.flip ? " (flips)" : ""}`)],
    ["widest disagreement", p(row.gap)],
  ];
  if (row.decided_by !== "author") entries.push(["decided by", words(row.decided_by)], ["author's p(first)", p(row.p_author)]);
  for (const [name, value] of Object.entries(row.p_read)) entries.push([`${name}, from the traces`, p(value)]);
  if (row.reason) entries.push(["no side", words(row.reason)]);
  if (row.label) entries.push(["publisher's label (votes count here)", words(String(row.label))]);
  if (row.prompt_id && row.prompt_id.text !== row.prompt?.text) entries.push(["prompt id", long(row.prompt_id)]);
  for (const [name, value] of Object.entries(row.about)) entries.push([name, long(value)]);
  return [numbers(entries), ...row.samples.map(sample)];
}

function rollout(row) {
  const parts = row.parts.map((part) => [`${part.name} part`, part.weight === 0 ? `${number(part.value)}, not paid`
    : `${number(part.value)} × ${number(part.weight)} = ${number(part.paid)}`]);
  const entries = [["verdict", verdict(row, true)], ["step", String(row.step)], ["reward", number(row.reward)], ...parts];
  if (row.p_no_trace !== null) entries.push(["listener without trace", p(row.p_no_trace)]);
  const says = row.malformed_reason ? element("span", { class: "bad" }, "malformed: ", long(row.malformed_reason))
    : element("span", {}, "says ", element("b", {}, row.side ?? "nothing"));
  const blocks = [numbers(entries), element("div", { class: "sample" }, element("b", {}, "completion"), ": ", says,
    row.listeners.length ? heard(row.listeners) : null, element("p", { class: "trace" }, long(row.completion)))];
  if (row.heard) blocks.push(element("div", { class: "sample" }, element("b", {}, "what the listener read"), element("p", { class: "trace" }, long(row.heard))));
  return blocks;
}
