export function element(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  if (text !== null) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

export function table(caption, rows) {
  const made = element("table", null);
  made.append(element("caption", caption, { class: "soft" }));
  for (const [name, ...texts] of rows) {
    const row = element("tr", null);
    row.append(element("th", name, { scope: "row" }), ...texts.map((text) => element("td", text)));
    made.append(row);
  }
  return made;
}
