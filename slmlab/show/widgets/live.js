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

// The name of a line and its latest value, beside its last point; "≈" where that is a cheap look.
function named(line, lines, x, y) {
  const looks = lines.find(({ kind, colour }) => kind === "dots" && colour === line.colour);
  const [exact, look] = [line.points.at(-1), looks?.points.at(-1) ?? [-1, 0]];
  const [step, bits] = look[0] > exact[0] ? look : exact;
  const text = `${look[0] > exact[0] ? "≈ " : ""}${bits.toFixed(2)} ${line.name}`;
  return { x: x(step) + 8, y: y(bits), text, colour: line.colour, bold: line.width > 2 };
}

function draw(figure, data) {
  const em = parseFloat(getComputedStyle(figure).fontSize) || 13;
  const width = figure.clientWidth || 700;
  const height = Math.round(Math.min(26 * em, Math.max(15 * em, 0.5 * width)));
  const [left, right, top, bottom] = [2.6 * em, 8.6 * em, 1.9 * em, 2.5 * em];
  const lines = data.lines.filter((line) => line.points.length);
  const all = lines.flatMap((line) => line.points);
  const steps = Math.max(data.steps, ...all.map(([step]) => step)) || 1000;
  const highest = Math.max(data.level.y, ...all.map(([, bits]) => bits));
  const most = all.length ? highest * 1.05 : 2 * highest;
  const x = (step) => left + ((width - left - right) * step) / steps;
  const y = (bits) => height - bottom - ((height - top - bottom) * bits) / most;
  const parts = [];

  for (const tick of ticks(most, 5, false)) {
    const at = y(tick);
    parts.push(`<line class="grid" x1="${left}" x2="${width - right}" y1="${at}" y2="${at}"/>`);
    const label = Number(tick.toFixed(2));
    parts.push(`<text class="tick" x="${left - 8}" y="${at}" dy=".35em" text-anchor="end">${label}</text>`);
  }
  if (data.steps || all.length)
    for (const tick of ticks(steps, width / (7 * em), true))
      parts.push(
        `<text class="tick" x="${x(tick)}" y="${height - bottom + 1.3 * em}" text-anchor="middle">${written(tick)}</text>`,
      );
  parts.push(`<text class="tick" x="${left - 8}" y="${0.9 * em}">bits per byte, lower is better</text>`);
  parts.push(`<text class="tick" x="${width - right + 2.4 * em}" y="${height - bottom + 1.3 * em}">step</text>`);

  const level = y(data.level.y);
  parts.push(`<line class="level" x1="${left}" x2="${width - right}" y1="${level}" y2="${level}"/>`);
  const labels = [{ x: width - right + 8, y: level, text: `${data.level.y.toFixed(2)} ${data.level.name}`, colour: "currentColor", bold: true }];
  for (const line of lines) {
    const points = line.points;
    if (line.kind === "dots") {
      for (const [step, bits] of points)
        parts.push(`<circle class="look" fill="${line.colour}" cx="${x(step)}" cy="${y(bits)}" r="${0.13 * em}"/>`);
      continue;
    }
    const path = points.map(([step, bits]) => `${x(step).toFixed(1)},${y(bits).toFixed(1)}`).join(" ");
    const style = `stroke="${line.colour}" stroke-width="${(line.width * em) / 13}"`;
    parts.push(`<polyline class="${line.kind || "exact"}" ${style} points="${path}"/>`);
    if (line.kind === "ghost") continue;
    for (const [step, bits] of points)
      parts.push(`<circle fill="${line.colour}" cx="${x(step)}" cy="${y(bits)}" r="${((line.width + 0.6) * em) / 13}"/>`);
    labels.push(named(line, lines, x, y));
  }
  spread(labels, GAP * em, top, height - bottom);
  for (const label of labels)
    parts.push(
      `<text class="${label.bold ? "label bold" : "label"}" style="fill:color-mix(in srgb, ${label.colour} 65%, currentColor)" x="${label.x}" y="${label.at}" dy=".35em">${escaped(label.text)}</text>`,
    );

  figure.querySelector("svg")?.remove();
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", data.text);
  svg.setAttribute("width", width);
  svg.setAttribute("height", height);
  svg.setAttribute("font-size", em);
  svg.innerHTML = parts.join("");
  figure.prepend(svg);
  figure.querySelector("figcaption").innerHTML = key(lines);
}

// What dots, faint lines and large dots are; lines have their names beside them.
function key(lines) {
  const kinds = new Set(lines.map((line) => line.kind || "exact"));
  const said = [];
  if (kinds.has("exact")) said.push("● exact evaluations");
  if (kinds.has("dots")) said.push("· looks between them: batches, and an estimate of the held-out loss");
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
  const show = () => figure.clientWidth && draw(figure, model.get("data"));
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
  const looks = data.lines[0] ? data.lines.find((line) => line.points.length).points.map(([step]) => step) : [];
  let timer = 0;

  function show() {
    const step = looks[slider.value];
    const words = `step ${written(step)}`;
    const seen = data.lines.map((line) => ({ ...line, points: line.points.filter(([at]) => at <= step) }));
    draw(figure, { ...data, lines: seen });
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
