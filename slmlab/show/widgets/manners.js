// What core ipywidgets cannot say of a panel: who it is, what is announced, and whose its keys are.

const PANEL = ".slm-panel";

// A panel is complete once it hangs in the page, which is after its parts were made.
function attached(element, signal) {
  return new Promise((done) => {
    const look = () => {
      if (signal.aborted) return;
      element.closest(PANEL)?.isConnected ? done(element.closest(PANEL)) : setTimeout(look, 20);
    };
    look();
  });
}

// A disabled button loses the focus, and the next key goes to the notebook. So it stays focusable:
// whoever disables it only marks it, and `ignored` lets no click through.
function keepFocusable(button) {
  if (Object.hasOwn(button, "disabled")) return;
  const mark = (off) => (button.ariaDisabled = off ? "true" : null);
  const was = button.disabled;
  button.disabled = false;
  Object.defineProperty(button, "disabled", {
    get: () => button.ariaDisabled === "true",
    set: mark,
  });
  mark(was);
}

function ignored(event) {
  if (event.target.closest?.("[aria-disabled=true]")) {
    event.preventDefault();
    event.stopImmediatePropagation();
  }
}

// Letters, arrows and Enter belong to the panel; with Ctrl or Alt they are the browser's.
function keep(event) {
  if (!(event.ctrlKey || event.altKey || event.metaKey)) event.stopPropagation();
}

// JupyterLab follows links to headings in texts, but not in widgets.
function follow(event) {
  const link = event.target.closest?.("a[href^='#']");
  if (!link) return;
  event.preventDefault();
  const id = decodeURIComponent(link.hash.slice(1));
  const named = (heading) => heading.id === id || heading.dataset.jupyterId === id;
  const heading = [...document.querySelectorAll("h1, h2, h3, h4, h5, h6")].find(named);
  if (!heading) return;
  heading.tabIndex = -1;
  heading.focus({ preventScroll: true });
  heading.scrollIntoView();
}

function behave(panel) {
  panel.querySelectorAll("button").forEach(keepFocusable);
  for (const live of panel.querySelectorAll(".slm-live")) live.setAttribute("role", "status");
  for (const group of panel.querySelectorAll(".slm-group")) {
    group.setAttribute("role", "group");
    const name = group.querySelector(".slm-name")?.textContent;
    if (name) group.setAttribute("aria-label", name);
  }
}

async function render({ model, el, signal }) {
  const panel = await attached(el, signal);
  panel.setAttribute("role", "group");
  panel.setAttribute("aria-label", model.get("label"));
  panel.setAttribute("data-lm-suppress-shortcuts", "true"); // for JupyterLab
  panel.addEventListener("keydown", keep, { signal }); // for VS Code and others
  panel.addEventListener("click", ignored, { capture: true, signal });
  panel.addEventListener("click", follow, { signal });
  behave(panel);
  const observer = new MutationObserver(() => behave(panel));
  observer.observe(panel, { childList: true, subtree: true });
  signal.addEventListener("abort", () => observer.disconnect());
}

export default { render };
