// State, requests and keys. `render.js` makes what is shown.
import { count, detailOf, element, listRow, stepPlots, words } from "./render.js";

const $ = (id) => document.getElementById(id);
const form = $("filters");
const NARROW = matchMedia("(max-width: 760px)");
const ORDERS = {
  judged: [["file", "as judged"], ["sure", "surest first"], ["unsure", "least sure first"],
    ["disagreement", "widest disagreement"], ["turn", "widest turn with the order"]],
  rollouts: [["file", "by step"], ["latest", "latest step first"], ["best", "highest reward"], ["worst", "lowest reward"],
    ["disagreement", "widest disagreement"]],
};
const CHOICES = ["source", "verdict", "listener", "order"];
const EMPTY = { text: "", source: "", verdict: "", listener: "", order: "file", malformed: false, flips: false };

let kind = "judged";
let query = { ...EMPTY };
let state = await get("/api/state");
let page = { total: 0, offset: 0, rows: [], counts: null };
let chosen = null; // the index of the row that is current
let beside = null; // the run that is shown beside; "" is none, null the first there is
let asked = 0; // numbers requests for rows, so that a late answer to an earlier one is not shown

async function get(address, signal) {
  const answer = await fetch(address, { signal });
  if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).detail ?? `the server says ${answer.status}`);
  return answer.json();
}

// The address bar keeps what was chosen, so that a reload or a bookmark shows the same.
function readAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  kind = given.get("kind") === "rollouts" ? "rollouts" : "judged";
  query = { ...EMPTY };
  for (const name of Object.keys(EMPTY)) {
    if (given.has(name)) query[name] = typeof EMPTY[name] === "boolean" ? given.get(name) === "true" : given.get(name).slice(0, 200);
  }
  beside = given.get("beside");
  if (!ORDERS[kind].some(([name]) => name === query.order)) query.order = "file";
  return { offset: Number.parseInt(given.get("offset"), 10) || 0, row: given.has("row") ? Number(given.get("row")) : null };
}

function parameters(offset) {
  const all = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (value !== EMPTY[name]) all.set(name, value);
  if (offset > 0) all.set("offset", offset);
  return all;
}

function writeAddress() {
  const all = parameters(page.offset);
  if (kind !== "judged") all.set("kind", kind);
  if (chosen !== null) all.set("row", chosen);
  if (beside !== null) all.set("beside", beside);
  history.replaceState(null, "", all.size ? `#${all}` : location.pathname);
}

const picture = (index) => (side, size) => `/image/${kind}/${index}/${side}?size=${size}&of=${state.session}`;

// --- rows ---

async function loadRows(offset = 0, { choose = null, quiet = false } = {}) {
  const number = ++asked;
  if (!quiet) $("list-pane").setAttribute("aria-busy", "true");
  try {
    const found = await get(`/api/rows/${kind}?${parameters(offset)}`);
    if (number !== asked) return;
    if (found.total && offset >= found.total) return await loadRows(Math.floor((found.total - 1) / state.page_rows) * state.page_rows, { choose });
    const same = quiet && JSON.stringify(found.rows) === JSON.stringify(page.rows);
    page = found;
    showRows(same);
    if (choose === "first" && page.rows.length) choosePosition(0);
    else if (choose === "last" && page.rows.length) choosePosition(page.rows.length - 1);
    else if (positionOf(chosen) < 0 && !quiet) chooseNone();
    writeAddress();
  } catch (error) {
    if (number === asked) say(`Rows cannot be had: ${error.message}`);
  } finally {
    if (number === asked) $("list-pane").removeAttribute("aria-busy");
  }
}

function showRows(same = false) {
  if (!same) fillList();
  const last = page.offset + page.rows.length;
  $("pager").hidden = page.total <= page.rows.length;
  $("range").textContent = `${count(page.offset + 1)}–${count(last)} of ${count(page.total)}`;
  $("previous").disabled = page.offset === 0;
  $("next").disabled = last >= page.total;
  showCounts();
  sayWhere();
}

function fillList() {
  const held = document.activeElement?.closest?.(".row")?.dataset.index;
  const sources = state[kind].sources;
  const several = new Set(sources.map((source) => source.run)).size > 1;
  const rows = page.rows.map((row) => listRow(row, kind, several ? sources[row.source].run : null, picture(row.index), () => choose(row.index, { read: true })));
  $("list").replaceChildren(...rows);
  if (!page.rows.length) $("list").append(element("li", { class: "empty" }, emptyWords()));
  markChosen();
  if (held !== undefined) rowButton(held)?.focus({ preventScroll: true });
}

function emptyWords() {
  if (!page.ready) return "Nothing found so far; still reading.";
  if (JSON.stringify(query) !== JSON.stringify({ ...EMPTY, order: query.order })) return "No row is like that. Clear some filters.";
  return kind === "judged" ? "No pair was judged in these runs; 'earshot eval' does that." : "There are no rollouts in these runs; 'earshot train grpo' writes them.";
}

const rowButton = (index) => $("list").querySelector(`.row[data-index="${CSS.escape(String(index))}"]`);
const positionOf = (index) => page.rows.findIndex((row) => row.index === index);

function markChosen() {
  for (const row of $("list").querySelectorAll(".row")) {
    if (Number(row.dataset.index) === chosen) row.setAttribute("aria-current", "true");
    else row.removeAttribute("aria-current");
  }
}

const choosePosition = (position) => choose(page.rows[position].index, { focus: true });

function chooseNone() {
  chosen = null;
  markChosen();
  $("detail").replaceChildren(element("p", { class: "soft" }, "Choose a row to read it in full."));
}

function choose(index, { focus = false, read = false } = {}) {
  chosen = index;
  markChosen();
  if (focus && !document.body.classList.contains("reading")) {
    const button = rowButton(index);
    button?.focus({ preventScroll: true });
    button?.scrollIntoView({ block: "nearest" });
  }
  if (read && NARROW.matches) document.body.classList.add("reading");
  loadDetail(index, read);
  sayWhere();
  writeAddress();
}

function step(by) {
  const position = positionOf(chosen);
  const next = position < 0 ? (by > 0 ? 0 : page.rows.length - 1) : position + by;
  if (next >= 0 && next < page.rows.length) choosePosition(next);
  else if (next >= page.rows.length && page.offset + page.rows.length < page.total) turn(1, "first");
  else if (next < 0 && page.offset > 0) turn(-1, "last");
}

function turn(by, choose = "first") {
  const offset = page.offset + by * state.page_rows;
  if (offset < 0 || offset >= page.total) return;
  $("list-pane").scrollTop = 0;
  loadRows(offset, { choose });
}

// --- one row in full ---

let reading = null;

async function loadDetail(index, focus) {
  reading?.abort();
  reading = new AbortController();
  const mine = kind;
  try {
    const row = await get(`/api/row/${mine}/${index}`, reading.signal);
    const at = row.beside.find((one) => one.run === beside) ?? (beside === null ? row.beside[0] : null);
    const other = at ? await get(`/api/row/${mine}/${at.index}`, reading.signal) : null;
    showDetail(row, other, mine);
    if (focus) $("detail").focus({ preventScroll: true });
  } catch (error) {
    if (error.name !== "AbortError") $("detail").replaceChildren(element("p", { class: "bad" }, `This row cannot be had: ${error.message}`));
  }
}

function showDetail(row, other, of) {
  const turnTo = (run) => { beside = run; writeAddress(); loadDetail(row.index, false); };
  $("detail").replaceChildren(...detailOf(row, other, of, picture(row.index), () => everywhere(row), turnTo));
  $("detail-pane").scrollTop = 0;
  if (document.body.classList.contains("reading")) scrollTo(0, 0);
}

function everywhere(row) {
  leave();
  query = { ...EMPTY, text: row.id.text.slice(0, 200) };
  fillForm();
  loadRows(0, { choose: "first" });
}

function leave() {
  document.body.classList.remove("reading");
  const button = chosen === null ? null : rowButton(chosen);
  (button ?? $("list")).focus();
  button?.scrollIntoView({ block: "nearest" });
}

// --- what is said of it all ---

async function showSteps() {
  const series = kind === "rollouts" ? (await get("/api/steps")).filter((one) => one.steps.length > 1) : [];
  $("steps").hidden = !series.length || kind !== "rollouts";
  if (series.length) $("steps").replaceChildren(...stepPlots(series));
}

function say(text) {
  if ($("status").textContent !== text) $("status").textContent = text;
}

function sayWhere() {
  const what = kind === "judged" ? (page.total === 1 ? "pair" : "pairs") : page.total === 1 ? "rollout" : "rollouts";
  const at = positionOf(chosen);
  const where = at < 0 ? "" : `; row ${count(page.offset + at + 1)}`;
  const indexed = !state.ready ? `; ${Math.round(100 * state[kind].progress)} % read` : "";
  say(`${count(page.total)} of ${count(state[kind].rows)} ${what}${where}${indexed}`);
}

function options(select, entries, value) {
  const made = entries.map(([name, text, n]) => element("option", { value: name }, n === undefined ? text : `${text} (${count(n)})`));
  select.replaceChildren(...made);
  select.value = value;
  if (select.value !== value) { // a choice from the address that is not there
    select.append(element("option", { value }, value));
    select.value = value;
  }
}

function showCounts() {
  const counts = page.counts;
  const here = state[kind];
  options(form.source, [["", "all"], ...here.sources.map((s, i) => [String(i), `${s.run}: ${s.name}`, counts?.source[i] ?? 0])], query.source);
  options(form.verdict, [["", "any"], ...[["right", "right"], ["wrong", "wrong"], ["open", "no majority"]].map(([v, t]) => [v, t, counts?.verdict[v]])], query.verdict);
  const names = Object.keys(counts?.listener ?? {}).filter((name) => name !== "*");
  options(form.listener, [["", "any"], ["*", names.length > 1 ? "one of them differs" : "differs", counts?.listener["*"] ?? 0],
    ...(names.length > 1 ? names.map((name) => [name, `${name} differs`, counts?.listener[name] ?? 0]) : [])], query.listener);
  options(form.order, ORDERS[kind], query.order);
  $("n-malformed").textContent = counts ? `(${count(counts.malformed)})` : "";
  $("n-flips").textContent = counts ? `(${count(counts.flips)})` : "";
  $("flips-label").hidden = kind === "rollouts";
  const active = Object.keys(EMPTY).filter((name) => !["text", "order"].includes(name) && query[name] !== EMPTY[name]).length;
  $("active").textContent = active ? ` (${active} on)` : "";
}

function showState() {
  $("runs").replaceChildren(words([...new Set([...state.judged.sources, ...state.rollouts.sources].map((s) => s.run))].join(", ")));
  for (const button of document.querySelectorAll("[data-kind]")) {
    button.setAttribute("aria-pressed", String(button.dataset.kind === kind));
    button.querySelector("span").textContent = count(state[button.dataset.kind].rows);
  }
  $("progress").hidden = state.ready;
  $("progress").value = state[kind].progress;
  const notes = [...(state.trouble ? [state.trouble] : []), ...state.judged.notes, ...state.rollouts.notes];
  const left = state.judged.left_out;
  if (left) notes.unshift(`${count(left)} ${left === 1 ? "line was" : "lines were"} left out`);
  $("notes").hidden = notes.length === 0;
  $("notes").replaceChildren(...notes.map((note) => element("li", {}, words(note))));
}

async function watch() {
  try {
    const before = state;
    if (!document.hidden) state = await get("/api/state");
    showState();
    const changed = state[kind].rows !== before[kind].rows || state.ready !== before.ready;
    if (changed) await Promise.all([loadRows(page.offset, { quiet: true }), showSteps()]);
  } catch {
    say("The server has gone. Start 'earshot view' again and reload.");
  }
  setTimeout(watch, state.ready ? 3000 : 400);
}

// --- what the reader does ---

function fillForm() {
  form.text.value = query.text;
  for (const name of ["malformed", "flips"]) form[name].checked = query[name];
  showCounts();
}

function readForm() {
  query.text = form.text.value;
  for (const name of CHOICES) query[name] = form[name].value;
  for (const name of ["malformed", "flips"]) query[name] = form[name].checked;
}

let waiting = null;

function changed() {
  clearTimeout(waiting);
  readForm();
  loadRows(0);
}

form.addEventListener("submit", (event) => { event.preventDefault(); changed(); });
form.addEventListener("change", (event) => { if (event.target !== form.text) changed(); });
form.text.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(changed, 250); });
$("clear").addEventListener("click", () => { query = { ...EMPTY }; fillForm(); loadRows(0); });
$("previous").addEventListener("click", () => turn(-1));
$("next").addEventListener("click", () => turn(1));
$("back").addEventListener("click", leave);
$("up").addEventListener("click", () => step(-1));
$("down").addEventListener("click", () => step(1));
$("help-button").addEventListener("click", () => $("help").showModal());
for (const button of document.querySelectorAll("[data-kind]")) {
  button.addEventListener("click", () => {
    kind = button.dataset.kind;
    query = { ...EMPTY, text: query.text };
    chooseNone();
    showState();
    fillForm();
    loadRows(0);
    showSteps();
  });
}

const letters = $("letters");
letters.checked = localStorage.getItem("earshot-letters") !== "off";
letters.addEventListener("change", () => localStorage.setItem("earshot-letters", letters.checked ? "on" : "off"));

const KEYS = {
  j: () => step(1), k: () => step(-1), n: () => turn(1), p: () => turn(-1), "/": () => { leave(); form.text.focus(); form.text.select(); },
  "?": () => $("help").showModal(),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || $("help").open) return;
  const field = event.target.closest?.("input, select, textarea, summary");
  if (event.key === "Escape") {
    if (field && !field.matches('[type="search"]')) return;
    event.preventDefault();
    leave();
  } else if (field) {
    if (field === form.text && event.key === "ArrowDown") { event.preventDefault(); step(1); }
  } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    // In a row that is being read, arrows scroll as everywhere.
    if (event.target.closest?.("#detail-pane")) return;
    event.preventDefault();
    step(event.key === "ArrowDown" ? 1 : -1);
  } else if (event.key === "Enter" && chosen !== null && !event.target.closest?.("button, a")) {
    event.preventDefault();
    choose(chosen, { read: true });
  } else if (letters.checked && KEYS[event.key]) {
    event.preventDefault();
    KEYS[event.key]();
  }
});

addEventListener("hashchange", () => { const at = readAddress(); fillForm(); loadRows(at.offset); });

const openFilters = () => { $("more").open = !NARROW.matches; };
NARROW.addEventListener("change", () => { openFilters(); if (!NARROW.matches) document.body.classList.remove("reading"); });
openFilters();

const start = readAddress();
showState();
fillForm();
await loadRows(start.offset);
await showSteps();
if (start.row !== null && positionOf(start.row) >= 0) choose(start.row);
if (!page.rows.length && !state.judged.sources.length && kind === "judged") document.querySelector('[data-kind="rollouts"]').click();
setTimeout(watch, 300);
