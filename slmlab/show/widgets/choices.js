// The view of choices.py: tokens in a text, or rows of a table, as buttons with one Tab stop.

const STEPS = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 };

function make(tag, parent, attributes = {}, text = "") {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.textContent = text;
  return parent.appendChild(element);
}

// Not a <button>: that is a box, in which a token could not go on in the next line.
function button(parent, item, chosen) {
  const made = make("span", parent, { role: "button", tabindex: -1 }, item.cells[0]);
  made.ariaLabel = item.says;
  made.ariaPressed = String(chosen);
  made.classList.toggle("slm-marked", Boolean(item.marked));
  if (item.colour) made.style.background = item.colour;
  return made;
}

function line(table, item, chosen) {
  const row = make("tr", table);
  const first = button(make("th", row, { scope: "row" }), item, chosen);
  item.cells.slice(1).forEach((text, i) => {
    const cell = make("td", row, {}, text);
    const bar = item.bars?.[i];
    if (bar != null) cell.style.setProperty("--slm-bar", `${100 * bar}%`);
    cell.classList.toggle("slm-barred", bar != null);
  });
  row.classList.toggle("slm-chosen", chosen);
  return first;
}

function render({ model, el }) {
  el.classList.add("slm-choices");
  let buttons = [];

  function draw() {
    const items = model.get("items");
    const header = model.get("header");
    const chosen = model.get("chosen");
    const focused = buttons.indexOf(document.activeElement);
    const scrolled = el.firstElementChild?.scrollTop ?? 0;
    const body = document.createElement(header.length ? "table" : "div");
    body.ariaLabel = model.get("label");
    if (!header.length) body.setAttribute("role", "group");
    else {
      const row = make("tr", body);
      for (const name of header) make("th", row, { scope: "col" }, name);
    }
    buttons = items.map((item, i) => (header.length ? line : button)(body, item, i === chosen));
    // Whoever points at one sees what it says; so does whoever moves to it with an arrow.
    const words = document.createElement("p");
    words.ariaHidden = "true";
    const show = (i) => (words.textContent = items[i]?.says ?? "");
    buttons.forEach((element, i) => {
      const area = header.length ? element.closest("tr") : element;
      area.addEventListener("click", () => choose(i));
      area.addEventListener("mouseenter", () => show(i));
      area.addEventListener("mouseleave", () => show(model.get("chosen")));
      element.addEventListener("focus", () => show(i));
    });
    show(chosen);
    el.replaceChildren(body, ...(header.length ? [] : [words]));
    body.scrollTop = scrolled;
    enter(focused >= 0 ? Math.min(focused, items.length - 1) : Math.max(chosen, 0));
    if (focused >= 0) buttons.find((element) => element.tabIndex === 0)?.focus();
  }

  // The one that Tab leads to.
  function enter(i) {
    buttons.forEach((element, j) => (element.tabIndex = i === j ? 0 : -1));
  }

  function choose(i) {
    model.send({ chosen: i });
    enter(i);
    buttons[i].focus();
  }

  el.addEventListener("keydown", (event) => {
    const at = buttons.indexOf(event.target);
    if (at < 0 || event.ctrlKey || event.altKey || event.metaKey) return;
    const last = buttons.length - 1;
    const ends = { Home: 0, End: last };
    const to = ends[event.key] ?? Math.min(last, Math.max(0, at + STEPS[event.key]));
    if (event.key === "Enter" || event.key === " ") choose(at);
    else if (Number.isInteger(to)) {
      enter(to);
      buttons[to].focus();
    } else return;
    event.preventDefault();
  });
  model.on("change", draw);
  draw();
}

export default { render };
