// The chart of a result: panes of price, equity and drawdown that share one axis of time.
// Its numbers come from chart.json, thinned to the pixels; zooming in asks for more of them.

const section = document.querySelector("[data-chart]");
const words = JSON.parse(section.dataset.words);
const panes = section.querySelector(".panes");
const legend = section.querySelector(".legend");
const note = section.querySelector(".note");
const language = document.documentElement.lang;

const COLUMNS = ["open", "high", "low", "close", "equity", "holding", "drawdown", "position"];
const YEAR_SECONDS = 365.25 * 24 * 3600;
const LINE_COLOURS = ["--line-1", "--line-2", "--line-3", "--line-4", "--line-5", "--line-6"];
const SECONDS_OF_REST = 0.25;
const LEAST_BARS = 20; // on the screen around a trade

const number = new Intl.NumberFormat(language, { maximumSignificantDigits: 6 });
const money = new Intl.NumberFormat(language, { maximumFractionDigits: 2 });
const percent = new Intl.NumberFormat(language, { style: "percent", maximumFractionDigits: 2 });

let points; // what chart.json answered
let whole; // the same for all bars
let chart;
let series = {}; // by what they show
let markers;
let isCandles = false;
let isLogarithmic = false;
let current = null; // the point under the crosshair

// A variable of the style sheet in the scheme of the moment.
function colour(name) {
  note.style.color = `var(${name})`;
  const found = getComputedStyle(note).color;
  note.style.color = "";
  return found;
}

async function load(query = "") {
  const answer = await fetch(section.dataset.chart + query, { credentials: "same-origin" });
  if (!answer.ok) throw new Error(answer.statusText);
  return answer.json();
}

// Values as the library takes them: where there is none, the line has a gap.
function dataOf(values, factor = 1) {
  return points.time.map((time, at) => (values[at] === null ? { time } : { time, value: factor * values[at] }));
}

function candles() {
  return points.time.map((time, at) => ({
    time, open: points.open[at], high: points.high[at], low: points.low[at], close: points.close[at],
  }));
}

// The prices of tiny and of huge values need another number of decimals.
function priceFormat(values) {
  const known = values.filter((value) => value !== null && value !== 0).map(Math.abs);
  const least = known.length ? Math.min(...known) : 1;
  const decimals = Math.min(12, Math.max(2, 3 - Math.floor(Math.log10(least))));
  return { type: "price", precision: least >= 1000 ? 0 : decimals, minMove: 10 ** -(least >= 1000 ? 0 : decimals) };
}

function addLine(name, pane, options) {
  const line = chart.addSeries(LightweightCharts.LineSeries, {
    lineWidth: 1.5, priceLineVisible: false, lastValueVisible: false, crosshairMarkerVisible: false, ...options,
  }, pane);
  series[name] = line;
  return line;
}

function build() {
  const range = chart && viewedRange();
  chart?.remove();
  series = {};
  chart = LightweightCharts.createChart(panes, {
    autoSize: true,
    layout: {
      attributionLogo: false, background: { color: "transparent" }, textColor: colour("--ink"), fontFamily: "inherit",
      panes: { separatorColor: colour("--line"), separatorHoverColor: colour("--line") },
    },
    grid: { vertLines: { color: colour("--grid") }, horzLines: { color: colour("--grid") } },
    localization: { locale: language, dateFormat: "yyyy-MM-dd" },
    crosshair: { mode: LightweightCharts.CrosshairMode.Normal },
    rightPriceScale: { borderColor: colour("--line") },
    timeScale: { borderColor: colour("--line"), timeVisible: points.has_times, secondsVisible: false, minBarSpacing: 0.05 },
  });
  let pane = 0;
  if (points.close) {
    buildPrices(pane);
    pane += 1;
  }
  pane = buildScales(pane);
  addLine("holding", pane, { color: colour("--holding"), title: words.holding });
  addLine("equity", pane, { color: colour("--accent"), lineWidth: 2, title: words.equity });
  for (const name of ["equity", "holding"]) {
    series[name].applyOptions({ priceFormat: { type: "custom", formatter: (value) => number.format(value), minMove: 0.01 } });
  }
  const fallColours = { bottomLineColor: colour("--bad"), bottomFillColor1: colour("--bad-fill"), bottomFillColor2: colour("--bad-fill") };
  series.drawdown = chart.addSeries(LightweightCharts.BaselineSeries, {
    ...fallColours, topLineColor: colour("--bad"), baseValue: { type: "price", price: 0 }, lineWidth: 1,
    priceLineVisible: false, lastValueVisible: false, title: words.drawdown,
    priceFormat: { type: "custom", formatter: (value) => percent.format(Math.abs(value)), minMove: 0.0001 },
  }, pane + 1);
  fill();
  stretch();
  setScales();
  if (range) view(range);
  chart.subscribeCrosshairMove(({ time }) => show(time === undefined ? null : points.time.indexOf(time)));
  chart.subscribeClick(({ hoveredObjectId }) => goToTrade(hoveredObjectId));
  chart.timeScale().subscribeVisibleLogicalRangeChange(() => {
    asked = null;
    refine();
  });
}

// The library draws, and knows, a range that it is asked for with the next frame: what happens
// before, such as a second press, goes by the range asked for.
let asked = null;
function view(range) {
  asked = range;
  chart.timeScale().setVisibleLogicalRange(range);
}

function viewedRange() {
  return asked ?? chart.timeScale().getVisibleLogicalRange();
}

function buildPrices(pane) {
  const options = { priceLineVisible: false, lastValueVisible: false, priceFormat: priceFormat(points.close) };
  series.price = isCandles
    ? chart.addSeries(LightweightCharts.CandlestickSeries, {
      ...options, upColor: colour("--good"), downColor: colour("--bad"), borderVisible: false,
      wickUpColor: colour("--good"), wickDownColor: colour("--bad"),
    }, pane)
    : addLine("price", pane, { ...options, color: colour("--ink"), lineWidth: 1.5 });
  markers = LightweightCharts.createSeriesMarkers(series.price, []);
}

// The lines of the rule: some on the price, the others in panes of their own. Answers the next pane.
function buildScales(pane) {
  const scales = [...new Set(points.lines.map((line) => line.scale).filter(Boolean))];
  points.lines.forEach((line, at) => {
    const own = line.scale ? pane + scales.indexOf(line.scale) : 0;
    const values = points.lines.filter((other) => other.scale === line.scale).flatMap((other) => other.values);
    const options = line.scale ? { priceFormat: priceFormat(values) } : {};
    addLine(`line ${at}`, own, { ...options, color: colour(LINE_COLOURS[at % LINE_COLOURS.length]) });
  });
  return pane + scales.length;
}

function fill() {
  if (series.price) series.price.setData(isCandles ? candles() : dataOf(points.close));
  points.lines.forEach((line, at) => series[`line ${at}`].setData(dataOf(line.values)));
  series.holding.setData(dataOf(points.holding));
  series.equity.setData(dataOf(points.equity));
  series.drawdown.setData(dataOf(points.drawdown, -1));
  markers?.setMarkers(points.close ? marks() : []);
  say();
}

function marks() {
  const found = [];
  const purchase = { position: "belowBar", shape: "arrowUp", color: colour("--good") };
  const sale = { position: "aboveBar", shape: "arrowDown", color: colour("--bad") };
  for (const trade of points.trades) {
    const isLong = trade.side === "long";
    for (const [point, isPurchase] of [[trade.entry, isLong], [trade.exit, !isLong]]) {
      if (point === null) continue;
      found.push({ time: points.time[point], id: String(trade.number), ...(isPurchase ? purchase : sale) });
    }
  }
  return found.sort((one, other) => one.time - other.time);
}

function stretch() {
  chart.panes().forEach((pane, at, all) => pane.setStretchFactor(at === 0 && points.close ? 3 : at === all.length - 2 ? 2 : 1));
}

function say() {
  const lines = [];
  if (!points.close) lines.push(words.gone);
  if (points.trade_count > points.trades.length) lines.push(words.many.replace("%(count)s", number.format(points.trade_count)));
  if (points.is_thinned) lines.push(words.thinned);
  note.textContent = lines.join(" ");
  note.hidden = !lines.length;
}

const dateOf = (time) => {
  const iso = new Date(time * 1000).toISOString();
  return points.has_times ? iso.slice(0, 16).replace("T", " ") : iso.slice(0, 10);
};

// All values of the bar under the crosshair; of the last one where there is none.
function show(at) {
  current = at === -1 ? null : at;
  const point = current ?? points.time.length - 1;
  const parts = [["", dateOf(points.time[point])]];
  for (const name of COLUMNS) {
    if (!points[name]) continue;
    const value = points[name][point];
    const text = name === "drawdown" ? percent.format(value) : ["equity", "holding"].includes(name) ? money.format(value) : number.format(value);
    parts.push([words[name], text]);
  }
  for (const line of points.lines) {
    if (line.values[point] !== null && line.name !== String(line.values[point])) parts.push([line.name, number.format(line.values[point])]);
  }
  legend.replaceChildren(...parts.map(([name, text]) => {
    const part = document.createElement("span");
    const value = document.createElement("b");
    value.textContent = text;
    part.append(name ? `${name} ` : "", value);
    return part;
  }));
}

// Asks for other points once the screen shows far fewer bars than these points stand for, or bars
// that are beyond them, or trades that were too many.
let resting;
function refine() {
  clearTimeout(resting);
  resting = setTimeout(refineNow, SECONDS_OF_REST * 1000);
}

// The screen may have moved on while the points were on their way, and a hand that drags the chart
// goes on from where it took hold: the view stays where it is by then.
let isHeld = false;
async function refineNow() {
  const span = visibleSpan();
  if (!span || !needsOthers(span)) return;
  const loaded = isHeld ? null : await pointsAround(span);
  const now = visibleSpan();
  if (loaded && !isHeld && now.first >= loaded.first && now.last < loaded.end) display(loaded, now);
  else if (loaded || isHeld) refine();
}

// The numbers of the first and the last bar on the screen, also where no points are loaded there.
function visibleSpan() {
  const range = viewedRange();
  if (!range) return null;
  return { first: barAt(range.from), last: barAt(range.to) };
}

function barAt(logical) {
  const last = points.bar.length - 1;
  const perPoint = (points.bar[last] - points.bar[0]) / Math.max(1, last) || 1;
  const inside = Math.min(last, Math.max(0, Math.round(logical)));
  const beyond = Math.round((logical - inside) * perPoint);
  return Math.min(whole.bars - 1, Math.max(0, points.bar[inside] + beyond));
}

function needsOthers({ first, last }) {
  const shownBars = last - first + 1;
  const hidesTrades = points.trade_count > points.trades.length;
  const isFarInside = (points.is_thinned || hidesTrades) && shownBars < 0.5 * (points.end - points.first);
  return isFarInside || first < points.first || last >= points.end;
}

// None where they cannot be loaded, or another wish came after this one.
let wish = 0;
async function pointsAround({ first, last }) {
  const mine = ++wish;
  const shownBars = last - first + 1;
  let loaded = whole;
  if (shownBars <= 0.5 * whole.bars) {
    const margin = Math.round(shownBars / 2);
    const query = `?first=${Math.max(0, first - margin)}&end=${Math.min(whole.bars, last + 1 + margin)}`;
    try {
      loaded = await load(query);
    } catch (error) {
      console.warn(error); // the points that are there stay
      return null;
    }
  }
  return mine === wish ? loaded : null;
}

function display(loaded, { first, last }) {
  points = loaded;
  fill();
  view({ from: placeOf(first, points.bar), to: placeOf(last, points.bar) });
}

// The place of the first of these ascending numbers that is at least the wanted one, else of the last.
function placeOf(wanted, numbers) {
  const at = numbers.findIndex((each) => each >= wanted);
  return at === -1 ? numbers.length - 1 : at;
}

// Shows the bars between two moments, which may be beyond the points that are loaded.
async function showTimes(from, to) {
  const span = { first: whole.bar[placeOf(from, whole.time)], last: whole.bar[placeOf(to, whole.time)] };
  const loaded = await pointsAround(span);
  if (loaded) display(loaded, span);
}

function press(button) {
  if (button.dataset.years) {
    const last = whole.time[whole.time.length - 1];
    const isAll = button.dataset.years === "all";
    showTimes(isAll ? whole.time[0] : Math.max(whole.time[0], last - button.dataset.years * YEAR_SECONDS), last);
    return;
  }
  const isOn = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", isOn);
  if (button.dataset.toggle === "candles") {
    isCandles = isOn;
    build();
  } else {
    isLogarithmic = isOn;
    setScales();
  }
}

function setScales() {
  const mode = LightweightCharts.PriceScaleMode[isLogarithmic ? "Logarithmic" : "Normal"];
  for (const name of ["price", "equity"]) series[name]?.priceScale().applyOptions({ mode });
}

// From a mark in the chart to the row of its trade.
function goToTrade(id) {
  const row = id && document.getElementById(`trade-${id}`);
  if (!row) return;
  row.scrollIntoView({ block: "center" });
  row.querySelector("a").focus();
}

// From a row to the chart: the trade with a third of its length before and after.
async function showTrade(link) {
  section.scrollIntoView({ block: "start" });
  panes.focus({ preventScroll: true });
  const stamp = (text) => Date.parse(text.length > 10 ? `${text.replace(" ", "T")}Z` : `${text}T00:00:00Z`) / 1000;
  const entry = stamp(link.dataset.entry);
  const exit = link.dataset.exit ? stamp(link.dataset.exit) : whole.time[whole.time.length - 1];
  const perBar = (whole.time[whole.time.length - 1] - whole.time[0]) / whole.bars;
  const margin = Math.max((exit - entry) / 3, LEAST_BARS * perBar);
  await showTimes(entry - margin, exit + margin);
}

function pressKey(event) {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const zoom = { "+": 0.7, "=": 0.7, "-": 1.4 }[event.key];
  if (!step && !zoom) return;
  event.preventDefault();
  const { from, to } = viewedRange();
  if (zoom) {
    const middle = current ?? (from + to) / 2;
    view({ from: middle - (middle - from) * zoom, to: middle + (to - middle) * zoom });
    return;
  }
  const at = Math.min(points.time.length - 1, Math.max(0, (current ?? points.time.length) + step));
  const name = series.price ? "close" : "equity";
  chart.setCrosshairPosition(points[name][at], points.time[at], series.price ?? series.equity);
  show(at);
  if (at < from || at > to) view({ from: from + step, to: to + step });
}

function giveUp(error) {
  section.append(section.querySelector("template").content.cloneNode(true));
  for (const part of section.querySelectorAll(".tools, .panes, .credit")) part.hidden = true;
  note.textContent = words.failed;
  note.hidden = false;
  console.warn(error);
}

async function start() {
  if (!document.createElement("canvas").getContext?.("2d")) throw new Error("no canvas");
  points = whole = await load();
  for (const part of section.querySelectorAll(".tools, .panes, .credit")) part.hidden = false;
  build();
  view({ from: 0, to: points.time.length - 1 });
  show(null);
  section.dataset.ready = "";
  section.shownBars = visibleSpan; // for tests and for the curious
  performance.mark("chart-ready");
  section.addEventListener("click", ({ target }) => target.closest("button") && press(target.closest("button")));
  panes.addEventListener("keydown", pressKey);
  panes.addEventListener("pointerdown", () => { isHeld = true; });
  for (const name of ["pointerup", "pointercancel"]) window.addEventListener(name, () => { isHeld = false; });
  document.addEventListener("click", (event) => {
    const link = event.target.closest("[data-trade]");
    if (!link) return;
    event.preventDefault();
    showTrade(link);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => build());
}

start().catch(giveUp);
