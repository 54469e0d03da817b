// The combinations of a search as a heatmap (or as bars, where one parameter varies alone): the value
// under the mouse or the arrow keys, any metric, any two parameters, sliders for the others.

const cells = document.querySelector("[data-cells]");
const cellWords = JSON.parse(cells.dataset.words);
const cellMetrics = JSON.parse(cells.dataset.metrics);
const canvas = cells.querySelector("canvas");
const reading = cells.querySelector(".reading");
const choices = Object.fromEntries([...cells.querySelectorAll("[data-choice]")].map((select) => [select.dataset.choice, select]));

// From dark to light, each step as far from the next to the eye as all others (viridis, by its anchors).
const COLOURS = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];
const MARGIN = { left: 64, right: 84, top: 8, bottom: 36 };
const SCALE_WIDTH = 12;
const MOST_TICKS = 12;
const LEAST_CELL = 14; // pixels of height, where there is room for it
const cellNumber = new Intl.NumberFormat(document.documentElement.lang, { maximumSignificantDigits: 5 });

const scaleNumber = new Intl.NumberFormat(document.documentElement.lang, { maximumSignificantDigits: 3 });

let table; // what cells.json answered
let varied; // the parameters with more than one value
let fixed = {}; // the values of those that are on no axis
let view; // what is drawn: axes, rows by cell, scale
let cursor = null; // the cell under mouse or keyboard

const distinct = (values) => [...new Set(values)].sort((one, other) => one - other);
const metricOf = (name) => cellMetrics.find((metric) => metric.name === name);
const hasTraded = (row) => table.metrics.num_trades[row] > 0;

function textOf(name, row) {
  const value = table.metrics[name][row];
  if (value === null) return "–";
  const { unit, factor } = metricOf(name);
  return cellNumber.format(factor * value) + (unit ? ` ${unit}` : "");
}

function bestRow(name) {
  const sign = metricOf(name).less_is_better ? -1 : 1;
  let best = null;
  table.metrics[name].forEach((value, row) => {
    if (value !== null && hasTraded(row) && (best === null || sign * value > sign * table.metrics[name][best])) best = row;
  });
  return best;
}

function look() {
  const x = choices.x.value;
  const y = varied.length > 1 ? choices.y.value : null;
  const name = choices.metric.value;
  const xs = distinct(table.parameters[x]);
  const ys = y ? distinct(table.parameters[y]) : [0];
  const rows = new Map();
  table.parameters[x].forEach((value, row) => {
    if (Object.entries(fixed).some(([other, wanted]) => other !== x && other !== y && table.parameters[other][row] !== wanted)) return;
    rows.set(ys.indexOf(y ? table.parameters[y][row] : 0) * xs.length + xs.indexOf(value), row);
  });
  // One scale for all positions of the sliders: colours mean the same in each.
  const values = table.metrics[name].filter((value, row) => value !== null && hasTraded(row));
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  view = { x, y, name, xs, ys, rows, low, high, best: bestRow(name) };
}

function colourFor(value) {
  const { low, high, name } = view;
  let share = high > low ? (value - low) / (high - low) : 1;
  if (metricOf(name).less_is_better) share = 1 - share;
  const at = Math.min(COLOURS.length - 2, Math.floor(share * (COLOURS.length - 1)));
  const rest = share * (COLOURS.length - 1) - at;
  return `rgb(${COLOURS[at].map((part, channel) => Math.round(part + rest * (COLOURS[at + 1][channel] - part))).join(" ")})`;
}

function boxOf(column, line) {
  const width = (view.width - MARGIN.left - MARGIN.right) / view.xs.length;
  const height = (view.height - MARGIN.top - MARGIN.bottom) / view.ys.length;
  return { left: MARGIN.left + column * width, top: MARGIN.top + (view.ys.length - 1 - line) * height, width, height };
}

function draw() {
  const ratio = devicePixelRatio || 1;
  const style = getComputedStyle(cells);
  view.width = canvas.clientWidth;
  view.height = Math.min(560, Math.max(260, view.ys.length * LEAST_CELL + MARGIN.top + MARGIN.bottom));
  canvas.style.height = `${view.height}px`;
  canvas.width = view.width * ratio;
  canvas.height = view.height * ratio;
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  pen.font = `12px ${style.fontFamily}`;
  for (const [key, row] of view.rows) drawCell(pen, key % view.xs.length, Math.floor(key / view.xs.length), row);
  drawAxes(pen, style.color);
  drawScale(pen, style.color);
  mark(pen, view.best, style.color, 3);
  if (cursor) outline(pen, boxOf(cursor.column, cursor.line), style.color, 2);
}

function drawCell(pen, column, line, row) {
  const { left, top, width, height } = boxOf(column, line);
  const value = table.metrics[view.name][row];
  if (value === null || !hasTraded(row)) {
    pen.fillStyle = "rgb(148 163 184 / 0.35)";
    pen.fillRect(left, top, width - 0.5, height - 0.5);
    return;
  }
  pen.fillStyle = colourFor(value);
  if (view.y) {
    pen.fillRect(left, top, width - 0.5, height - 0.5);
    return;
  }
  // One parameter alone: bars from zero.
  const [least, most] = [Math.min(0, view.low), Math.max(0, view.high)];
  const scale = height / (most - least || 1);
  const zero = top + most * scale;
  pen.fillRect(left, Math.min(zero, zero - value * scale), Math.max(1, width - 1), Math.max(1, Math.abs(value) * scale));
}

function drawAxes(pen, ink) {
  pen.fillStyle = ink;
  pen.textBaseline = "top";
  pen.textAlign = "center";
  const step = Math.ceil(view.xs.length / MOST_TICKS);
  view.xs.forEach((value, column) => {
    const { left, width } = boxOf(column, 0);
    if (column % step === 0) pen.fillText(value, left + width / 2, view.height - MARGIN.bottom + 4);
  });
  pen.fillText(view.x, MARGIN.left + (view.width - MARGIN.left - MARGIN.right) / 2, view.height - 15);
  pen.textAlign = "right";
  pen.textBaseline = "middle";
  if (!view.y) {
    const { factor } = metricOf(view.name);
    pen.fillText(cellNumber.format(factor * Math.max(0, view.high)), MARGIN.left - 6, MARGIN.top + 6);
    pen.fillText(cellNumber.format(factor * Math.min(0, view.low)), MARGIN.left - 6, view.height - MARGIN.bottom - 6);
    return;
  }
  const lines = Math.ceil(view.ys.length / MOST_TICKS);
  view.ys.forEach((value, line) => {
    const { top, height } = boxOf(0, line);
    if (line % lines === 0) pen.fillText(value, MARGIN.left - 6, top + height / 2);
  });
  pen.save();
  pen.translate(10, (view.height - MARGIN.bottom) / 2);
  pen.rotate(-Math.PI / 2);
  pen.textAlign = "center";
  pen.fillText(view.y, 0, 0);
  pen.restore();
}

// What the colours mean: the highest value above, the lowest below.
function drawScale(pen, ink) {
  if (!(view.low <= view.high)) return;
  const { factor, unit } = metricOf(view.name);
  const left = view.width - MARGIN.right + 10;
  const height = view.height - MARGIN.top - MARGIN.bottom;
  for (let y = 0; y < height; y += 1) {
    pen.fillStyle = colourFor(view.high - (y / height) * (view.high - view.low));
    pen.fillRect(left, MARGIN.top + y, SCALE_WIDTH, 1.5);
  }
  pen.fillStyle = ink;
  pen.textAlign = "left";
  pen.textBaseline = "middle";
  for (const [value, y] of [[view.high, 6], [(view.low + view.high) / 2, height / 2], [view.low, height - 6]]) {
    pen.fillText(`${scaleNumber.format(factor * value)}${unit}`, left + SCALE_WIDTH + 4, MARGIN.top + y);
  }
}

// The best of all, where the sliders show it.
function mark(pen, row, ink, width) {
  const key = [...view.rows].find(([, each]) => each === row)?.[0];
  if (key === undefined) return;
  const box = boxOf(key % view.xs.length, Math.floor(key / view.xs.length));
  outline(pen, box, ink, width);
  pen.fillStyle = ink;
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  if (box.height >= 12 && box.width >= 12) {
    pen.fillStyle = "#fff";
    pen.strokeStyle = "#000";
    pen.lineWidth = 2;
    pen.strokeText("★", box.left + box.width / 2, box.top + box.height / 2);
    pen.fillText("★", box.left + box.width / 2, box.top + box.height / 2);
  }
}

function outline(pen, { left, top, width, height }, ink, thickness) {
  pen.lineWidth = thickness;
  pen.strokeStyle = ink;
  pen.strokeRect(left + thickness / 2, top + thickness / 2, Math.max(1, width - thickness), Math.max(1, height - thickness));
}

const paramsOf = (row) => Object.keys(table.parameters).map((name) => `${name} ${table.parameters[name][row]}`).join(", ");

function tell() {
  const row = cursor ? view.rows.get(cursor.line * view.xs.length + cursor.column) : view.best;
  const { label } = metricOf(view.name);
  if (row === undefined || row === null) {
    reading.textContent = cellWords.none;
    return;
  }
  const isBest = row === view.best ? ` (${cellWords.best})` : "";
  const value = hasTraded(row) ? textOf(view.name, row) : cellWords.untraded;
  reading.textContent = `${paramsOf(row)}: ${label} ${value}${isBest}`;
}

// The row of a cell in full, with a button of its own to run it.
function choose(row) {
  if (row === undefined || row === null) return;
  const box = cells.querySelector(".chosen");
  const list = document.createElement("dl");
  list.className = "metrics";
  for (const { name, label } of cellMetrics) {
    const line = document.createElement("div");
    const term = document.createElement("dt");
    const value = document.createElement("dd");
    term.textContent = label;
    value.textContent = textOf(name, row);
    line.append(term, value);
    list.append(line);
  }
  const heading = document.createElement("h3");
  heading.textContent = paramsOf(row);
  const form = document.createElement("form");
  form.method = "post";
  form.action = cells.dataset.run;
  const button = document.createElement("button");
  button.name = "row";
  button.value = table.first_row + row;
  button.textContent = cellWords.run;
  form.append(button);
  box.replaceChildren(heading, list, form);
  box.hidden = false;
}

function refresh() {
  look();
  draw();
  tell();
}

function buildSliders() {
  const box = cells.querySelector("[data-sliders]");
  const others = varied.filter((name) => name !== choices.x.value && (varied.length < 2 || name !== choices.y.value));
  box.replaceChildren(...others.map((name) => {
    const values = distinct(table.parameters[name]);
    const label = document.createElement("label");
    const slider = document.createElement("input");
    const shownValue = document.createElement("output");
    Object.assign(slider, { type: "range", min: 0, max: values.length - 1, value: values.indexOf(fixed[name]) });
    const say = () => {
      shownValue.textContent = values[slider.value];
      slider.setAttribute("aria-valuetext", values[slider.value]);
    };
    say();
    slider.addEventListener("input", () => {
      fixed[name] = values[slider.value];
      say();
      refresh();
    });
    label.append(`${name} `, shownValue, slider);
    return label;
  }));
}

function cellAt(event) {
  const { left, top } = canvas.getBoundingClientRect();
  const one = boxOf(0, 0);
  const column = Math.floor((event.clientX - left - MARGIN.left) / one.width);
  const line = view.ys.length - 1 - Math.floor((event.clientY - top - MARGIN.top) / one.height);
  return column >= 0 && column < view.xs.length && line >= 0 && line < view.ys.length ? { column, line } : null;
}

function moveTo(cell) {
  cursor = cell;
  draw();
  tell();
}

function pressKeyOnCells(event) {
  const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowDown: [0, -1], ArrowUp: [0, 1] }[event.key];
  if (event.key === "Enter" && cursor) choose(view.rows.get(cursor.line * view.xs.length + cursor.column));
  if (event.key !== "Enter" && !step) return;
  event.preventDefault();
  if (!step) return;
  const key = [...view.rows].find(([, row]) => row === view.best)?.[0] ?? 0;
  const from = cursor ?? { column: key % view.xs.length, line: Math.floor(key / view.xs.length) };
  moveTo({
    column: Math.min(view.xs.length - 1, Math.max(0, from.column + step[0])),
    line: Math.min(view.ys.length - 1, Math.max(0, from.line + step[1])),
  });
}

function offer(select, names, chosen, labelOf) {
  select.replaceChildren(...names.map((name) => new Option(labelOf(name), name, name === chosen, name === chosen)));
}

function changeAxis(changed, other) {
  if (changed.value === other.value) other.value = varied.find((name) => name !== changed.value);
  cursor = null;
  buildSliders();
  refresh();
}

async function startCells() {
  if (!canvas.getContext?.("2d")) throw new Error("no canvas");
  const answer = await fetch(cells.dataset.cells, { credentials: "same-origin" });
  if (!answer.ok) throw new Error(answer.statusText);
  table = await answer.json();
  const names = table.parameters.map(({ name }) => name); // as the rule declares them
  table.parameters = Object.fromEntries(table.parameters.map(({ name, values }) => [name, values]));
  varied = names.filter((name) => distinct(table.parameters[name]).length > 1);
  if (!varied.length) varied = names.slice(0, 1);
  offer(choices.metric, cellMetrics.map((metric) => metric.name), cells.dataset.metric, (name) => metricOf(name).label);
  offer(choices.x, varied, varied[1] ?? varied[0], (name) => name);
  offer(choices.y, varied, varied[0], (name) => name);
  const best = bestRow(cells.dataset.metric) ?? 0;
  fixed = Object.fromEntries(varied.map((name) => [name, table.parameters[name][best]]));
  for (const axis of cells.querySelectorAll("[data-axis]")) axis.hidden = varied.length < 3;
  cells.querySelector(".tools").hidden = canvas.hidden = false;
  buildSliders();
  refresh();
  choices.metric.addEventListener("change", refresh);
  choices.x.addEventListener("change", () => changeAxis(choices.x, choices.y));
  choices.y.addEventListener("change", () => changeAxis(choices.y, choices.x));
  canvas.addEventListener("mousemove", (event) => moveTo(cellAt(event)));
  canvas.addEventListener("mouseleave", () => moveTo(null));
  canvas.addEventListener("click", (event) => {
    const cell = cellAt(event);
    if (cell) choose(view.rows.get(cell.line * view.xs.length + cell.column));
  });
  canvas.addEventListener("keydown", pressKeyOnCells);
  new ResizeObserver(draw).observe(cells);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  cells.dataset.ready = "";
  performance.mark("cells-ready");
}

startCells().catch((error) => {
  cells.append(cells.querySelector("template").content.cloneNode(true));
  reading.textContent = cellWords.failed;
  console.warn(error);
});
