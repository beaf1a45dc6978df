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
const OUTCOMES = { right: ["right", "good"], wrong: ["wrong", "bad"], open: ["no majority", ""] };

function outcome(row) {
  const [text, tone] = OUTCOMES[row.outcome];
  return element("span", { class: tone }, text);
}

function thumbnail(source) {
  const image = element("img", { src: source, alt: "", loading: "lazy", decoding: "async" });
  image.addEventListener("error", () => image.replaceWith(element("span", { class: "none", "aria-hidden": "true" }, "–")));
  return image;
}

/** One row of the list. `pictures(side, size)` is the address of an image. */
export function listRow(row, kind, pictures, open) {
  const button = element("button", { type: "button", class: "row", "data-index": row.index, onclick: open });
  const facts = element("span", { class: "facts" }, outcome(row));
  const say = (...parts) => facts.append(" · ", ...parts);
  if (kind === "judged") say("p(first) ", element("b", {}, p(row.p_first)));
  else say("step ", String(row.step), " · says ", row.side ?? "nothing", " · reward ", element("b", {}, number(row.reward)));
  say(`votes ${number(row.votes[0])}:${number(row.votes[1])}`);
  if (row.gap !== null) say(element("span", { class: "bad" }, "listener differs"));
  if (row.flip) say(element("span", { class: "bad" }, "order flips"));
  if (row.malformed) say(element("span", { class: "bad" }, kind === "judged" ? `${row.malformed} of ${row.samples} malformed` : "malformed"));
  button.append(
    thumbnail(pictures("first", "small")), thumbnail(pictures("second", "small")),
    element("span", { class: "words" }, element("span", { class: "prompt" }, words(row.prompt)), facts),
  );
  return element("li", {}, button);
}

function figure(row, side, source, fault) {
  const votes = number(row.votes[side === "first" ? 0 : 1]);
  const preferred = row.preferred === side ? element("b", { class: "good" }, " · people's side") : null;
  const caption = element("figcaption", {}, element("b", {}, side), `, ${votes} ${votes === "1" ? "vote" : "votes"}`, preferred);
  const model = row.models?.[side === "first" ? 0 : 1];
  if (model) caption.append(" · ", long(model));
  const image = element("img", { src: source, alt: `the ${side} image`, decoding: "async" });
  image.addEventListener("load", () => image.classList.toggle("tiny", image.naturalWidth < 300));
  image.addEventListener("error", () => {
    image.replaceWith(element("div", { class: "none" }, "image not at hand", fault ? ": " : "", fault ? words(fault) : ""));
  });
  return element("figure", {}, caption, image);
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

/** A row in full; `everywhere` shows all rows of the same pair. */
export function detailOf(row, kind, pictures, everywhere) {
  const heading = element("h2", { class: "prompt", id: "detail-prompt" }, long(row.prompt));
  const place = element("p", { class: "soft" }, words(row.run), " · ", words(row.set), " · pair ", long(row.id), " ",
    element("button", { type: "button", onclick: everywhere }, kind === "judged" ? "this pair everywhere" : "all its completions"));
  const pair = element("div", { class: "pair" }, figure(row, "first", pictures("first", "large"), row.fault),
    figure(row, "second", pictures("second", "large"), row.fault));
  return [heading, place, pair, ...(kind === "judged" ? judged(row) : rollout(row))];
}

function judged(row) {
  const entries = [
    ["verdict", outcome(row)], ["p(first)", p(row.p_first)],
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
  const parts = row.parts.map((part) => [`${part.name} part`, `${number(part.value)} × ${number(part.weight)} = ${number(part.paid)}`]);
  const entries = [["verdict", outcome(row)], ["step", String(row.step)], ["reward", number(row.reward)], ...parts];
  if (row.p_no_trace !== null) entries.push(["listener without trace", p(row.p_no_trace)]);
  const says = row.malformed_reason ? element("span", { class: "bad" }, "malformed: ", long(row.malformed_reason))
    : element("span", {}, "says ", element("b", {}, row.side ?? "nothing"));
  const blocks = [numbers(entries), element("div", { class: "sample" }, element("b", {}, "completion"), ": ", says,
    row.listeners.length ? heard(row.listeners) : null, element("p", { class: "trace" }, long(row.completion)))];
  if (row.heard) blocks.push(element("div", { class: "sample" }, element("b", {}, "what the listener read"), element("p", { class: "trace" }, long(row.heard))));
  return blocks;
}
