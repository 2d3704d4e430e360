// Draws losses against steps as SVG, from what live.py sends; and plays a recorded run back.

const SVG = "http://www.w3.org/2000/svg";
const GAP = 1.25; // lines of text between two labels

const escaped = (text) => String(text).replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`);
const written = (number) => number.toLocaleString("en-US");

// A round number of which about `count` make up a span.
function niceStep(span, count) {
  const raw = span / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  return [1, 2, 5, 10].map((digit) => digit * power).find((step) => step >= raw);
}

function ticks(end, count, whole) {
  const step = Math.max(niceStep(end, count), whole ? 1 : 0);
  return Array.from({ length: Math.floor(end / step + 1e-9) + 1 }, (_, i) => i * step);
}

// Labels that would overlap move apart, and stay inside.
function spread(labels, distance, top, bottom) {
  labels.sort((a, b) => a.y - b.y);
  labels.forEach((label, i) => {
    label.at = Math.max(label.y, i ? labels[i - 1].at + distance : top);
  });
  for (let i = labels.length - 1; i >= 0; i--) {
    const limit = i + 1 < labels.length ? labels[i + 1].at - distance : bottom;
    labels[i].at = Math.min(labels[i].at, limit);
  }
}

// The size of the picture, and where a step and a loss lie in it; all lengths follow the font.
function scaled(figure, data) {
  const em = parseFloat(getComputedStyle(figure).fontSize) || 13;
  const width = figure.clientWidth;
  const height = Math.round(Math.min(26 * em, Math.max(15 * em, 0.5 * width)));
  const [left, right, top, bottom] = [2.6 * em, width - 9 * em, 1.9 * em, height - 3.3 * em];
  const points = data.lines.flatMap((line) => line.points);
  const steps = Math.max(data.steps, ...points.map(([step]) => step));
  const highest = Math.max(data.level.y, ...points.map(([, bits]) => bits));
  const most = points.length ? 1.05 * highest : 2 * highest;
  const x = (step) => left + ((right - left) * step) / (steps || 1);
  const y = (bits) => bottom - ((bottom - top) * bits) / most;
  return { em, width, height, left, right, top, bottom, steps, most, x, y };
}

function axes({ em, left, right, bottom, steps, most, x, y, width }) {
  const below = bottom + 1.3 * em;
  const across = ticks(most, 5, false).map(
    (tick) =>
      `<line class="grid" x1="${left}" x2="${right}" y1="${y(tick)}" y2="${y(tick)}"/>` +
      `<text class="tick" x="${left - 8}" y="${y(tick)}" dy=".35em" text-anchor="end">` +
      `${Number(tick.toFixed(2))}</text>`,
  );
  const along = (steps ? ticks(steps, width / (7 * em), true) : []).map(
    (tick) =>
      `<text class="tick" x="${x(tick)}" y="${below}" text-anchor="middle">${written(tick)}</text>`,
  );
  return [
    ...across,
    ...along,
    `<text class="tick" x="${left - 8}" y="${0.9 * em}">bits per byte, lower is better</text>`,
    `<text class="tick" x="${(left + right) / 2}" y="${below + 1.4 * em}" text-anchor="middle">` +
      "step</text>",
  ].join("");
}

function drawn(line, { em, x, y }) {
  const dots = (radius, look) =>
    line.points.map(
      ([step, bits]) =>
        `<circle class="${look}" fill="${line.colour}" cx="${x(step)}" cy="${y(bits)}" r="${radius}"/>`,
    );
  if (line.kind === "dots") return dots(0.13 * em, "look").join("");
  const width = (line.width * em) / 13;
  const path = line.points.map(([step, bits]) => `${x(step)},${y(bits)}`).join(" ");
  const curve =
    `<polyline class="${line.kind || "exact"}" stroke="${line.colour}" ` +
    `stroke-width="${width}" points="${path}"/>`;
  return line.kind === "ghost" ? curve : curve + dots(width + 0.05 * em, "exact").join("");
}

// The name of a line and its latest value, beside its last point; "≈" where that is a cheap look.
function named(line, lines, { em, x, y }) {
  const looks = lines.find(({ kind, colour }) => kind === "dots" && colour === line.colour);
  const [exact, look] = [line.points.at(-1), looks?.points.at(-1) ?? [-1, 0]];
  const [step, bits] = look[0] > exact[0] ? look : exact;
  const text = `${look[0] > exact[0] ? "≈ " : ""}${bits.toFixed(2)} ${line.name}`;
  return { x: x(step) + 0.8 * em, y: y(bits), text, colour: line.colour, bold: line.width > 2 };
}

// A ring and words at the lowest held-out loss; beside the last point its name says enough.
function lowest(lines, { em, right, x, y }) {
  const heldOut = lines.find((line) => !line.kind && line.name === "held-out");
  const points = heldOut?.points ?? [];
  if (points.length < 2) return "";
  const [step, bits] = points.reduce((best, point) => (point[1] < best[1] ? point : best));
  const ring = `<circle class="lowest" cx="${x(step)}" cy="${y(bits)}" r="${0.55 * em}"/>`;
  if (step === points.at(-1)[0]) return ring;
  const anchor = x(step) + 14 * em < right ? "start" : "end";
  const words = `lowest: ${bits.toFixed(2)} at step ${written(step)}`;
  return (
    ring +
    `<text class="bold" x="${x(step)}" y="${y(bits) - 1.1 * em}" text-anchor="${anchor}">` +
    `${words}</text>`
  );
}

function writtenOut(labels, { em, top, bottom }) {
  spread(labels, GAP * em, top, bottom);
  return labels
    .map(
      ({ x, at, text, colour, bold }) =>
        `<text class="${bold ? "bold" : ""}" x="${x}" y="${at}" dy=".35em" ` +
        `style="fill:color-mix(in srgb, ${colour} 65%, currentColor)">${escaped(text)}</text>`,
    )
    .join("");
}

function draw(figure, data) {
  if (!figure.clientWidth) return; // hidden, or not in the page yet
  const place = scaled(figure, data);
  const { left, right, width, height } = place;
  const level = place.y(data.level.y);
  const lines = data.lines.filter((line) => line.points.length);
  const labels = lines.filter((line) => !line.kind).map((line) => named(line, lines, place));
  const text = `${data.level.y.toFixed(2)} ${data.level.name}`;
  labels.push({ x: right + 0.8 * place.em, y: level, text, colour: "currentColor", bold: true });

  const svg = document.createElementNS(SVG, "svg");
  const attributes = { role: "img", "aria-label": data.text, width, height, "font-size": place.em };
  for (const [name, value] of Object.entries(attributes)) svg.setAttribute(name, value);
  svg.innerHTML =
    axes(place) +
    `<line class="level" x1="${left}" x2="${right}" y1="${level}" y2="${level}"/>` +
    lines.map((line) => drawn(line, place)).join("") +
    lowest(lines, place) +
    writtenOut(labels, place);
  figure.querySelector("svg")?.remove();
  figure.prepend(svg);
  figure.querySelector("figcaption").innerHTML = key(lines);
}

// What dots, faint lines and large dots are; lines have their names beside them.
function key(lines) {
  const kinds = new Set(lines.map((line) => line.kind || "exact"));
  const said = [];
  if (kinds.has("exact")) said.push("● exact evaluations");
  if (kinds.has("dots")) said.push("small dots: quick estimates");
  if (kinds.has("ghost")) said.push("<i></i> held-out loss of the last run");
  return said.map((words) => `<span>${words}</span>`).join(" ");
}

function chart(parent) {
  const figure = document.createElement("figure");
  figure.className = "slm-live-chart";
  figure.innerHTML = "<figcaption></figcaption>";
  return parent.appendChild(figure);
}

function render({ model, el, signal }) {
  const figure = chart(el);
  const show = () => draw(figure, model.get("data"));
  model.on("change:data", show);
  const observer = new ResizeObserver(show);
  observer.observe(el);
  signal?.addEventListener("abort", () => observer.disconnect());
}

// A recorded run, evaluation by evaluation: Play, a slider over its steps, and what it wrote.
function playback(el, data) {
  el.innerHTML = `<div class="slm-play"><button type="button">Play</button>
    <input type="range" min="0" step="1" aria-label="step of the recorded run"><output></output></div>`;
  const [button, slider] = [el.querySelector("button"), el.querySelector("input")];
  const figure = chart(el);
  const sample = el.appendChild(document.createElement("pre"));
  const looks = data.lines.find((line) => line.points.length).points.map(([step]) => step);
  let timer = 0;

  function show() {
    const step = looks[slider.value];
    const words = `step ${written(step)}`;
    const until = ({ points }) => points.filter(([at]) => at <= step);
    const lines = data.lines.map((line) => ({ ...line, points: until(line) }));
    draw(figure, { ...data, lines });
    el.querySelector("output").textContent = words;
    slider.setAttribute("aria-valuetext", words);
    sample.textContent = data.samples[step] ?? "";
  }

  function pause() {
    clearInterval(timer);
    timer = 0;
    button.textContent = "Play";
  }

  function next() {
    slider.value = Number(slider.value) + 1;
    show();
    if (Number(slider.value) === looks.length - 1) pause();
  }

  button.addEventListener("click", () => {
    if (timer) return pause();
    if (Number(slider.value) === looks.length - 1) slider.value = 0;
    button.textContent = "Pause";
    show();
    timer = setInterval(next, 400);
  });
  slider.max = looks.length - 1;
  slider.value = looks.length - 1;
  slider.addEventListener("input", show);
  new ResizeObserver(show).observe(el);
}

export default { render };
