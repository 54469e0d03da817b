// The chart of a comparison: the curves of all runs, and their drawdowns below, on one axis of time.

const compared = document.querySelector("[data-compare]");
const { curves, words: comparisonWords } = JSON.parse(compared.querySelector("script").textContent);
const comparisonPanes = compared.querySelector(".panes");
const comparisonLegend = compared.querySelector(".legend");
const COMPARISON_COLOURS = ["--accent", "--line-1", "--line-2", "--line-3", "--line-4", "--line-5", "--line-6"];
const DASHES = [0, 2, 1]; // solid, dashed, dotted, as Lightweight Charts counts them

const decimals = new Intl.NumberFormat(document.documentElement.lang, { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const times = [...new Set(curves.flatMap((curve) => curve.time))].sort((one, other) => one - other);
let comparisonChart;
let values;
let place = times.length - 1; // of the day that the legend is about

// A variable of the style sheet in the scheme of the moment.
function colourOf(name) {
  comparisonLegend.style.color = `var(${name})`;
  const found = getComputedStyle(comparisonLegend).color;
  comparisonLegend.style.color = "";
  return found;
}

function addCurves(names, pane, sign) {
  return curves.map((curve) => {
    const line = comparisonChart.addSeries(LightweightCharts.LineSeries, {
      color: colourOf(COMPARISON_COLOURS[curve.number % COMPARISON_COLOURS.length]),
      lineStyle: DASHES[Math.floor(curve.number / COMPARISON_COLOURS.length)],
      lineWidth: pane ? 1 : 2, priceLineVisible: false, lastValueVisible: false,
      priceFormat: { type: "custom", minMove: 0.01, formatter: (value) => (pane ? `${decimals.format(Math.abs(value))} %` : decimals.format(value)) },
    }, pane);
    line.setData(curve.time.map((time, at) => ({ time, value: sign * curve[names][at] })));
    return line;
  });
}

function draw() {
  const range = comparisonChart?.timeScale().getVisibleRange();
  comparisonChart?.remove();
  comparisonChart = LightweightCharts.createChart(comparisonPanes, {
    autoSize: true,
    layout: {
      attributionLogo: false, background: { color: "transparent" }, textColor: colourOf("--ink"),
      panes: { separatorColor: colourOf("--line"), separatorHoverColor: colourOf("--line") },
    },
    grid: { vertLines: { color: colourOf("--grid") }, horzLines: { color: colourOf("--grid") } },
    localization: { locale: document.documentElement.lang, dateFormat: "yyyy-MM-dd" },
    rightPriceScale: { borderColor: colourOf("--line") },
    timeScale: { borderColor: colourOf("--line"), minBarSpacing: 0.05 },
  });
  values = addCurves("value", 0, 1);
  addCurves("drawdown", 1, -1);
  comparisonChart.panes()[0].setStretchFactor(3);
  comparisonChart.panes()[1].setStretchFactor(1);
  comparisonChart.subscribeCrosshairMove(({ time }) => tell(time === undefined ? times.length - 1 : times.indexOf(time)));
  if (range) comparisonChart.timeScale().setVisibleRange(range);
}

// The values of all runs on a day; of one without a bar on it those of its last day before.
function tell(at) {
  place = at;
  const parts = [document.createTextNode(`${new Date(times[at] * 1000).toISOString().slice(0, 10)} `)];
  for (const curve of curves) {
    const after = curve.time.findIndex((time) => time > times[at]);
    const last = after === -1 ? curve.time.length - 1 : after - 1;
    if (last < 0) continue;
    const part = document.createElement("span");
    const value = document.createElement("b");
    value.textContent = decimals.format(curve.value[last]);
    part.append(`${curve.number + 1} ${curve.label} `, value, ` (${comparisonWords.drawdown} ${decimals.format(curve.drawdown[last])} %)`);
    parts.push(part);
  }
  comparisonLegend.replaceChildren(...parts);
}

function pressKeyOfComparison(event) {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const zoom = { "+": 0.7, "=": 0.7, "-": 1.4 }[event.key];
  if (!step && !zoom) return;
  event.preventDefault();
  const scale = comparisonChart.timeScale();
  if (zoom) {
    const { from, to } = scale.getVisibleLogicalRange();
    const margin = ((to - from) * (1 - zoom)) / 2;
    scale.setVisibleLogicalRange({ from: from + margin, to: to - margin });
    return;
  }
  const at = Math.min(times.length - 1, Math.max(0, place + step));
  const nearest = curves.findIndex((curve) => curve.time.includes(times[at]));
  comparisonChart.setCrosshairPosition(curves[nearest].value[curves[nearest].time.indexOf(times[at])], times[at], values[nearest]);
  tell(at);
}

// Without a canvas the drawing that the server made stays.
if (document.createElement("canvas").getContext?.("2d") && window.LightweightCharts) {
  compared.querySelector(".still").hidden = true;
  for (const part of compared.querySelectorAll(".panes, .credit")) part.hidden = false;
  draw();
  comparisonChart.timeScale().fitContent();
  tell(place);
  comparisonPanes.addEventListener("keydown", pressKeyOfComparison);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  compared.dataset.ready = "";
}
