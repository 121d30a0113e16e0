"use strict";
// DATA is what swim/reports/explorer/data.py makes. Names in it may be anything: they reach the page
// as text, never as HTML.
const DATA = JSON.parse(document.getElementById("data").textContent);
const SAME = 1e-12; // heights that differ by rounding are equal, as in crossings.py
const WIDTH = 2; // of lines, in pixels
const GROUND = {day: "#ffffff", night: "#16181d"}; // as in page.css

// --- where a curve crosses: the rule of swim/reports/crossings.py --------------------------------

// The position on a rising curve from which on it is at or above zero; Infinity: it ends below.
function crossing(above) {
  const first = above.findIndex(height => height >= -SAME);
  if (first < 0) return Infinity;
  if (first === 0 || above[first] <= SAME) return first;
  const low = above[first - 1], high = above[first];
  return first - 1 + Math.min(Math.max(-low / (high - low), 0), 1);
}

// A value at a position; null where either of its points has none.
function interpolate(place, values) {
  const start = Math.floor(place), next = Math.min(start + 1, values.length - 1);
  if (values[start] === null || values[next] === null) return null;
  return values[start] + (place - start) * (values[next] - values[start]);
}

// The least and the largest position that a crossing may have: the ends of the gap that it is in.
function aroundGaps(place, gaps) {
  const start = Math.floor(place);
  return place !== start && gaps[start] ? [start, start + 1] : [place, place];
}

// What a curve costs within so many percentage points: by column a value, or the ends of a gap.
function spent(curve, within) {
  const place = crossing(curve.above.map(height => height + within / 100));
  if (place === Infinity) return null;
  const [low, high] = aroundGaps(place, curve.gaps);
  const costs = {};
  for (const [column, values] of Object.entries(curve.costs)) {
    const ends = [interpolate(low, values), interpolate(high, values)];
    costs[column] = low === high ? {value: ends[0]} : {value: null, between: ends};
  }
  return costs;
}

// A curve's 95 % interval; between two steps the wider end of each, since both ends fall.
function interval(ends, steps, within) {
  const next = steps.findIndex(step => step >= within);
  if (next < 0) return [ends.low.at(-1), ends.high.at(-1)];
  return [ends.low[next], ends.high[steps[next] === within ? next : next - 1]];
}

// --- what is chosen ------------------------------------------------------------------------------

const at = id => document.getElementById(id);
const METHODS = Object.keys(DATA.methods);
const shown = new Set(METHODS);
const dark = matchMedia("(prefers-color-scheme: dark)");
let within = Number(DATA.within[Math.floor((DATA.within.length - 1) / 2)]);
let sorted = {column: "", down: false};

const panel = () => DATA.panels.find(
  one => one.device === at("device").value && one.sigma === at("sigma").value);
const axis = () => DATA.axes[at("axis").value];
const drawn = () => METHODS.filter(name => shown.has(name) && name in panel().curves);

function make(tag, properties = {}, ...inside) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...inside);
  return element;
}

function swatch({path = "", dash, filled = true}, colour) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const add = (tag, attributes) => {
    const part = document.createElementNS(svg.namespaceURI, tag);
    for (const [name, value] of Object.entries(attributes)) part.setAttribute(name, value);
    svg.append(part);
  };
  svg.setAttribute("width", 36);
  svg.setAttribute("height", 14);
  svg.setAttribute("aria-hidden", "true");
  const dashes = dash === "solid" ? "none" : dash.replaceAll("px", "");
  add("path", {d: "M1 7H35", stroke: colour, "stroke-width": WIDTH, "stroke-dasharray": dashes});
  const fill = filled ? colour : "var(--ground)";
  add("path", {d: path, fill, stroke: colour, "stroke-width": 1.3, transform: "translate(18 7)"});
  return svg;
}

const narrow = () => innerWidth < 640;
const colour = (look, night = dark.matches) => night ? look.dark : look.colour;
const short = value => value === null || value === undefined ? "–" : Number(value.toPrecision(3)).toString();
const percent = value => (100 * value).toFixed(2);
const points = value => `${value} point${value === 1 ? "" : "s"}`;

// --- the figure ----------------------------------------------------------------------------------

// plotly.js reads tags and entities in names.
const plain = text => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

// Costs as they are, or on a logarithmic axis that is linear from 0 to the least value above.
function scale(values, log) {
  const positive = values.filter(value => value > 0), most = Math.max(...values);
  if (!log || positive.length === 0) return {to: value => value, ticks: {}, note: "", bent: false};
  const least = Math.min(...positive), linear = values.some(value => value <= 0) ? 0.3 : 0;
  const to = value => value <= least ? linear * value / least : linear + Math.log10(value / least);
  const tickvals = linear ? [0] : [], ticktext = linear ? ["0"] : [];
  const parts = most / least > 100 ? [1] : most / least > 10 ? [1, 2, 5] : [1, 1.5, 2, 3, 4, 5, 6, 8];
  for (let power = Math.floor(Math.log10(least)); power <= Math.log10(most); power++)
    for (const part of parts) {
      const tick = part * 10 ** power;
      if (tick < 0.999 * least || tick > 1.05 * most) continue;
      tickvals.push(to(tick));
      ticktext.push(short(tick));
    }
  const note = linear ? `, linear below ${short(least)}` : "";
  return {to, ticks: {tickmode: "array", tickvals, ticktext}, note, bent: true};
}

function hover(name, curve, i) {
  const costs = DATA.axes.map(one => `${one.short} ${short(curve.costs[one.column][i])}`);
  const half = curve.ci95[i] === null ? "" : ` ± ${percent(curve.ci95[i])}`;
  const p05 = curve.p05[i] === null ? "" :
    `p05 ${percent(curve.p05[i])} % [${percent(curve.p05_low[i])}, ${percent(curve.p05_high[i])}]`;
  return [`<b>${plain(DATA.methods[name].name)}</b>`, `mean ${percent(curve.mean[i])}${half} %`, p05,
    `${curve.chips[i]} chips`, ...costs].filter(Boolean).join("<br>");
}

// The line through a curve's points. On a logarithmic axis it is bent: points are joined by straight
// lines in cost, as crossings are found.
function path(curve, costs, x) {
  const xs = [], ys = [], pieces = x.bent ? 12 : 1;
  curve.mean.forEach((mean, i) => {
    const next = i + 1 < costs.length && !curve.gaps[i] && costs[i + 1] !== null;
    if (costs[i] === null) return;
    for (let k = 0; k < (next ? pieces : 1); k++) {
      xs.push(x.to(costs[i] + (k ? k / pieces * (costs[i + 1] - costs[i]) : 0)));
      ys.push(100 * (mean + (k ? k / pieces * (curve.mean[i + 1] - mean) : 0)));
    }
    if (!next) {
      xs.push(null);
      ys.push(null);
    }
  });
  return {x: xs, y: ys};
}

function traces(night) {
  const {column} = axis(), curves = panel().curves, names = drawn();
  const all = names.flatMap(name => curves[name].costs[column]).filter(value => value !== null);
  const x = scale(all.length ? all : [0, 1], at("log").checked);
  const ground = GROUND[night ? "night" : "day"];
  const lines = names.flatMap(name => {
    const curve = curves[name], look = DATA.methods[name], ink = colour(look, night);
    const costs = curve.costs[column], marks = [...costs.keys()].filter(i => costs[i] !== null);
    const common = {type: "scatter", name: plain(look.name), legendgroup: name};
    const marker = {symbol: look.symbol, size: 8, color: look.filled ? ink : ground, line: {color: ink, width: 1.5}};
    return [{
      ...common, ...path(curve, costs, x), mode: "lines", hoverinfo: "skip", showlegend: false,
      line: {color: ink, dash: look.dash, width: WIDTH},
    }, {
      ...common, mode: "markers", marker, hoverinfo: "text", meta: name,
      x: marks.map(i => x.to(costs[i])), y: marks.map(i => 100 * curve.mean[i]),
      text: marks.map(i => hover(name, curve, i)), line: {color: ink, dash: look.dash, width: WIDTH},
      error_y: {type: "data", array: marks.map(i => 100 * (curve.ci95[i] ?? 0)), color: ink, thickness: 1, width: 3},
    }];
  });
  return {lines, x, all};
}

function figure(night = dark.matches, forPaper = false) {
  const {lines, x, all} = traces(night), own = panel();
  const text = night ? "#e6e8eb" : "#1c1f24", rule = night ? "#3b424d" : "#d5d9df";
  const accent = night ? "#7cb8ff" : "#0b5cad";
  const height = 100 * own.references.all - within;
  const heights = lines.flatMap(line => line.y).filter(value => value !== null);
  const top = Math.max(...Object.values(own.references).map(value => 100 * value), ...heights);
  const bottom = at("near").checked ? Math.min(height, 100 * own.references.all - 2) - 0.5 * within
    : Math.min(height, ...heights, 100 * own.references.none);
  const room = 0.04 * (top - bottom) || 1, low = bottom - room;
  const shapes = Object.entries(own.references).map(([name, value]) => ({
    type: "line", xref: "paper", x0: 0, x1: 1, y0: 100 * value, y1: 100 * value, layer: "below",
    line: {color: night ? "#a3abb6" : "#595959", width: 1, dash: DATA.references[name].dash},
  }));
  if (forPaper) shapes.push({type: "line", xref: "paper", x0: 0, x1: 1, y0: height, y1: height,
    line: {color: accent, width: 1}});
  for (const name of drawn()) {
    const cost = spent(own.curves[name], within)?.[axis().column];
    if (!cost) continue;
    const ends = (cost.between ?? [cost.value, cost.value]).map(value => x.to(value));
    const ink = colour(DATA.methods[name], night);
    if (cost.between) shapes.push({type: "line", x0: ends[0], x1: ends[1], y0: height, y1: height,
      line: {color: ink, width: 4, dash: "dot"}});
    else shapes.push({type: "line", x0: ends[0], x1: ends[0], y0: low, y1: height,
      line: {color: ink, width: 1.2, dash: "dot"}});
  }
  const places = all.map(x.to), span = Math.max(...places) - Math.min(...places) || 1;
  const range = [Math.min(...places) - 0.03 * span, Math.max(...places) + 0.03 * span];
  return {data: lines, layout: {
    paper_bgcolor: GROUND[night ? "night" : "day"], plot_bgcolor: GROUND[night ? "night" : "day"],
    font: {color: text, size: 13, family: "system-ui, sans-serif"}, hovermode: "closest",
    hoverlabel: {align: "left"}, dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
    margin: {l: 58, r: forPaper ? 14 : narrow() ? 44 : 86, t: forPaper ? 40 : 10, b: 48}, showlegend: forPaper,
    ...(forPaper ? {title: {text: plain(heading()), font: {size: 13}}} : {}),
    xaxis: {title: {text: axis().label + x.note}, gridcolor: rule, zeroline: false, range: all.length ? range : [0, 1], ...x.ticks},
    yaxis: {title: {text: "accuracy (%)"}, gridcolor: rule, zeroline: false, range: [low, top + room]},
    shapes,
  }};
}

const heading = () => [DATA.title, DATA.devices[panel().device], `σ = ${panel().sigma}`].filter(Boolean).join(", ");

// The handle lies over the figure at the height of the line.
function placeLine() {
  const y = at("plot")._fullLayout?.yaxis, line = at("line");
  if (!y) return;
  const top = y._offset + y.l2p(100 * panel().references.all - within);
  line.style.display = top < y._offset - 1 || top > y._offset + y._length + 1 ? "none" : "block";
  line.style.top = `${top}px`;
  line.style.left = `${at("plot")._fullLayout.xaxis._offset}px`;
}

function draw() {
  if (!window.Plotly) return;
  const {data, layout} = figure();
  Plotly.react(at("plot"), data, layout, {displayModeBar: false, responsive: true}).then(placeLine);
}

// --- the tables ----------------------------------------------------------------------------------

// A row per method that is drawn: costs with their intervals, over SWIM's, and a remark.
function rows() {
  const own = panel(), swim = own.curves.swim && spent(own.curves.swim, within)?.[axis().column].value;
  return drawn().map(name => {
    const curve = own.curves[name], costs = spent(curve, within), nwc = curve.costs.nwc;
    const row = {name, costs: {}, note: ""};
    for (const {column} of DATA.axes) {
      const ends = curve.intervals[column];
      row.costs[column] = {value: null, ...(costs?.[column]), interval: ends ? interval(ends, own.steps, within) : null};
    }
    const {value, between} = row.costs.nwc;
    row.ratio = swim ? row.costs[axis().column].value / swim : null;
    if (!costs) {
      row.note = `not reached by NWC ${short(Math.max(...nwc))}`;
      row.ratio = null;
    } else if (between) {
      row.note = `between NWC ${short(between[0])} and ${short(between[1])}: not measured there`;
      row.ratio = null;
    } else if (value === 0) row.note = "within at no rewrite";
    else {
      const least = Math.min(...nwc.filter(one => one > 0));
      if (value < least) row.note = `below the first point, NWC ${short(least)}`;
    }
    return row;
  });
}

function heads() {
  return [["name", "method"], ...DATA.axes.map(one => [one.column, one.short]),
    ["ratio", `${axis().short} / SWIM’s`], ["note", "remark"]];
}

function key(row, column) {
  if (column === "name") return DATA.methods[row.name].name.toLowerCase();
  if (column === "note") return row.note;
  const cost = column === "ratio" ? {value: row.ratio} : row.costs[column];
  return cost.value ?? cost.between?.[0] ?? Infinity;
}

function ordered() {
  const all = rows();
  if (!sorted.column) return all;
  const sign = sorted.down ? -1 : 1;
  return all.sort((one, other) => {
    const [a, b] = [key(one, sorted.column), key(other, sorted.column)];
    return a < b ? -sign : a > b ? sign : 0;
  });
}

const brackets = ([low, high]) =>
  low === null && high === null ? "" : `[${short(low)}, ${high === null ? "…" : short(high)}]`;

function cell(cost) {
  const text = cost.between ? cost.between.map(short).join(" to ") : short(cost.value);
  const element = make("td", {}, text);
  if (cost.value !== null) element.dataset.value = cost.value;
  if (cost.interval) element.append(make("small", {}, brackets(cost.interval)));
  return element;
}

// The buttons stay: a press on one of them would be lost if a redraw replaced it before its release.
function makeHeads() {
  at("costs").tHead.replaceChildren(make("tr", {}, ...heads().map(([column]) => {
    const button = make("button", {type: "button"});
    button.onclick = () => {
      sorted = {column, down: sorted.column === column && !sorted.down};
      tabulate();
    };
    return make("th", {scope: "col"}, button);
  })));
}

function labelHeads() {
  heads().forEach(([column, words], place) => {
    const head = at("costs").tHead.rows[0].cells[place];
    head.firstChild.textContent = words;
    if (sorted.column === column) head.setAttribute("aria-sort", sorted.down ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  });
}

function tabulate() {
  at("heading").textContent = `Cost within ${points(within)} of full write-verify`;
  at("rounded").hidden = panel().steps.includes(within);
  labelHeads();
  at("costs").tBodies[0].replaceChildren(...ordered().map(row => {
    const look = DATA.methods[row.name];
    const line = make("tr", {}, make("td", {}, swatch(look, colour(look)), ` ${look.name}`),
      ...DATA.axes.map(one => cell(row.costs[one.column])), make("td", {}, short(row.ratio)),
      make("td", {}, row.note));
    line.dataset.method = row.name;
    return line;
  }));
  listPoints();
}

function listPoints() {
  const words = ["method", "fraction", ...DATA.axes.map(one => one.short), "mean (%)", "p05 (%)", "chips"];
  at("points").tHead.replaceChildren(make("tr", {}, ...words.map(word => make("th", {scope: "col"}, word))));
  at("points").tBodies[0].replaceChildren(...drawn().flatMap(name => {
    const curve = panel().curves[name];
    return curve.mean.map((mean, i) => make("tr", {}, ...[
      DATA.methods[name].name, curve.fraction[i], ...DATA.axes.map(one => short(curve.costs[one.column][i])),
      percent(mean) + (curve.ci95[i] === null ? "" : ` ± ${percent(curve.ci95[i])}`),
      curve.p05[i] === null ? "–" : percent(curve.p05[i]), curve.chips[i] ?? "–",
    ].map(text => make("td", {}, String(text)))));
  }));
}

// --- downloads -----------------------------------------------------------------------------------

function csv(table) {
  const field = value => value === null || value === undefined ? "" :
    /[",\r\n]/.test(String(value)) ? `"${String(value).replaceAll('"', '""')}"` : String(value);
  return table.map(line => line.map(field).join(",") + "\n").join("");
}

function tableOfCosts() {
  const ends = DATA.axes.flatMap(one => one.resampled
    ? [one.column, `${one.column}_low`, `${one.column}_high`] : [one.column]);
  const head = ["experiment", "device", "sigma", "within", "method", ...ends,
    "between_low", "between_high", "remark"];
  return [head, ...ordered().map(row => [DATA.experiment, panel().device, panel().sigma, within,
    row.name, ...DATA.axes.flatMap(one => [row.costs[one.column].value, ...(row.costs[one.column].interval ?? [])]),
    ...(row.costs.nwc.between ?? [null, null]), row.note])];
}

function tableOfCurves() {
  const columns = ["mean", "ci95", "p05", "p05_low", "p05_high", "chips"];
  const head = ["experiment", "device", "sigma", "method", "fraction",
    ...DATA.axes.map(one => one.column), ...columns];
  return [head, ...drawn().flatMap(name => {
    const curve = panel().curves[name];
    return curve.mean.map((_, i) => [DATA.experiment, panel().device, panel().sigma, name,
      curve.fraction[i], ...DATA.axes.map(one => curve.costs[one.column][i]), ...columns.map(c => curve[c][i])]);
  })];
}

function save(content, type, ending) {
  const link = make("a", {href: URL.createObjectURL(new Blob([content], {type}))});
  const safe = [DATA.experiment, panel().device, panel().sigma].join("-").replace(/[^\w.-]+/g, "_");
  link.download = `${safe}-${ending}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

// On white paper, whatever the page's colours.
async function saveFigure() {
  const {data, layout} = figure(false, true);
  const options = {format: "svg", width: 900, height: 560};
  const address = await Plotly.toImage({data, layout}, options);
  save(decodeURIComponent(address.slice(address.indexOf(",") + 1)), "image/svg+xml", "figure.svg");
}

// --- the controls --------------------------------------------------------------------------------

let waiting = false;

function update() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    draw();
    tabulate();
  });
}

function setWithin(value, from) {
  const steps = panel().steps;
  within = Math.min(Math.max(value, 0), steps.at(-1));
  if (from !== "within") at("within").value = within;
  at("slider").value = steps.indexOf(nearest(within));
  at("grip").textContent = narrow() ? `${within}` : `within ${within}`;
  at("line").setAttribute("aria-valuenow", within);
  at("line").setAttribute("aria-valuetext", `within ${points(within)}`);
  update();
}

const nearest = value => panel().steps.reduce(
  (best, step) => Math.abs(step - value) < Math.abs(best - value) ? step : best);

function byKey(event) {
  const steps = panel().steps, last = steps.length - 1, near = steps.indexOf(nearest(within));
  const to = {ArrowDown: near + 1, ArrowLeft: near + 1, ArrowUp: near - 1, ArrowRight: near - 1,
    PageDown: near + 10, PageUp: near - 10, Home: 0, End: last}[event.key];
  if (to === undefined) return;
  event.preventDefault();
  setWithin(steps[Math.min(Math.max(to, 0), last)]);
}

function drag(event) {
  const y = at("plot")._fullLayout.yaxis, top = at("plot").getBoundingClientRect().top;
  const accuracy = y.p2l(event.clientY - top - y._offset);
  setWithin(nearest(100 * panel().references.all - accuracy));
}

function choose() {
  const own = panel();
  at("subtitle").textContent = `${DATA.experiment}: ${DATA.devices[own.device]}, σ = ${own.sigma}`;
  at("within").max = own.steps.at(-1);
  at("slider").max = own.steps.length - 1;
  for (const name of ["min", "max"]) at("line").setAttribute(`aria-value${name}`, name === "min" ? 0 : own.steps.at(-1));
  listMethods();
  at("references").replaceChildren(...Object.entries(own.references).map(([name, value]) =>
    make("li", {}, swatch(DATA.references[name], "currentColor"), `${DATA.references[name].name} ${percent(value)} %`)));
  setWithin(within);
}

function listMethods() {
  const names = METHODS.filter(name => name in panel().curves);
  at("methods").replaceChildren(...names.map(name => {
    const look = DATA.methods[name], box = make("input", {type: "checkbox", checked: shown.has(name), value: name});
    box.onchange = () => {
      shown[box.checked ? "add" : "delete"](name);
      update();
    };
    return make("label", {}, box, swatch(look, colour(look)), make("span", {}, look.name));
  }));
}

function show(all) {
  for (const name of METHODS) shown[all ? "add" : "delete"](name);
  listMethods();
  update();
}

function fill(id, options) {
  at(id).replaceChildren(...options.map(([value, words]) => make("option", {value}, words)));
  at(id).disabled = options.length < 2;
}

function chooseDevice() {
  const before = at("sigma").value;
  const sigmas = DATA.panels.filter(one => one.device === at("device").value).map(one => one.sigma);
  fill("sigma", sigmas.map(sigma => [sigma, sigma]));
  if (sigmas.includes(before)) at("sigma").value = before;
  choose();
}

function listen() {
  at("device").onchange = chooseDevice;
  at("sigma").onchange = choose;
  for (const id of ["axis", "log", "near"]) at(id).onchange = update;
  at("within").oninput = () => at("within").value !== "" && setWithin(Number(at("within").value), "within");
  at("within").onchange = () => setWithin(within);
  at("slider").oninput = () => setWithin(panel().steps[at("slider").value]);
  at("every").onclick = () => show(true);
  at("none").onclick = () => show(false);
  at("controls").onsubmit = event => event.preventDefault();
  at("line").onkeydown = byKey;
  at("line").onpointerdown = event => at("line").setPointerCapture(event.pointerId);
  at("line").onpointermove = event => at("line").hasPointerCapture(event.pointerId) && drag(event);
  at("save-table").onclick = () => save(csv(tableOfCosts()), "text/csv", `within-${within}.csv`);
  at("save-curves").onclick = () => save(csv(tableOfCurves()), "text/csv", "curves.csv");
  at("save-figure").onclick = saveFigure;
  dark.addEventListener("change", choose);
  addEventListener("resize", () => setTimeout(placeLine, 300));
}

async function loadPlotly() {
  const packed = Uint8Array.from(atob(at("plotly").textContent), letter => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const code = await new Response(stream).text();
  document.head.append(make("script", {textContent: code}));
  at("plotly").remove();
}

async function start() {
  at("title").textContent = DATA.title || DATA.experiment;
  fill("device", Object.entries(DATA.devices));
  fill("axis", DATA.axes.map((one, i) => [i, one.short]));
  at("presets").replaceChildren(...DATA.within.map(value => {
    const button = make("button", {type: "button"}, value);
    button.onclick = () => setWithin(Number(value));
    return button;
  }));
  makeHeads();
  listen();
  chooseDevice();
  try {
    await loadPlotly();
    draw();
    at("plot").on("plotly_afterplot", placeLine);
  } catch (error) {
    at("failed").hidden = false;
    at("save-figure").disabled = true;
    console.error(error);
  }
  document.body.dataset.ready = "yes";
}

start();
