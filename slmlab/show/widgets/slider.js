// The view of slider.py: a label, the browser's own slider, and the value in words.

function make(tag, parent, attributes) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return parent.appendChild(element);
}

function render({ model, el }) {
  // A module is loaded anew for each widget, so it cannot count them.
  const id = `slm-slider-${Math.random().toString(36).slice(2)}`;
  // JupyterLab must not take a letter for a shortcut, nor arrows to the left and right for itself.
  el.setAttribute("data-lm-suppress-shortcuts", "true");
  el.addEventListener("keydown", (event) => event.stopPropagation());
  const label = make("label", el, { class: "widget-label", for: id });
  const input = make("input", el, { id, type: "range", min: 0, step: 1 });
  // The slider's aria-valuetext says the same: hidden, so that nothing is read twice.
  const words = make("span", el, { class: "slm-slider-value", "aria-hidden": "true" });
  const help = make("small", el, { id: `${id}-help` });

  function show() {
    const options = model.get("_options_labels");
    label.textContent = model.get("description");
    input.max = options.length - 1;
    input.value = model.get("index");
    input.disabled = model.get("disabled");
    words.textContent = options[model.get("index")];
    input.setAttribute("aria-valuetext", words.textContent);
    help.textContent = model.get("help");
    help.dataset.knob = label.textContent;
    help.hidden = !help.textContent;
    if (help.textContent) input.setAttribute("aria-describedby", help.id);
  }

  function move() {
    model.set("index", Number(input.value));
    model.save_changes();
  }

  input.addEventListener("input", () => {
    if (model.get("continuous_update")) return move();
    words.textContent = model.get("_options_labels")[input.value];
    input.setAttribute("aria-valuetext", words.textContent);
  });
  input.addEventListener("change", move);
  const shown = ["_options_labels", "index", "description", "disabled", "help"];
  for (const name of shown) model.on(`change:${name}`, show);
  show();
}

export default { render };
