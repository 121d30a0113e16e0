"use strict";
// DATA is what swim/reports/explorer/data.py makes. Names in it may be anything: they reach the page
// as text, never as HTML. Of several experiments, curves are drawn relative to each one's own full
// write-verify, so that one line is within so many points for all of them.
const DATA = JSON.parse(document.getElementById("data").textContent);
const WIDTH = 2; // of lines, in pixels
// Where the numbers of experiments lie round a point, so that those of equal heights stay legible.
const ROUND = ["top center", "bottom center", "middle right", "middle left", "top right", "bottom left",
  "bottom right", "top left"];
const GROUND = {day: "#ffffff", night: "#16181d"}; // as in page.css

// --- what is chosen ------------------------------------------------------------------------------

const at = id => document.getElementById(id);
const METHODS = Object.keys(DATA.methods);
const SEVERAL = DATA.experiments.length > 1;
const shown = new Set(METHODS), compared = new Set(DATA.experiments);
const dark = matchMedia("(prefers-color-scheme: dark)");
let within = Number(DATA.within[Math.floor((DATA.within.length - 1) / 2)]);
let sorted = {column: "", down: false};

const panel = () => DATA.panels.find(
  one => one.device === at("device").value && one.sigma === at("sigma").value);
const axis = () => DATA.axes[at("axis").value];
const experiments = () => DATA.experiments.filter(name => compared.has(name));
const number = experiment => DATA.experiments.indexOf(experiment) + 1;

// The curves that are drawn: {method, experiment, curve, all: mean accuracy of full write-verify}.
const drawn = () => METHODS.filter(method => shown.has(method)).flatMap(method => experiments()
  .map(experiment => ({method, experiment, own: panel().members[experiment]}))
  .filter(({own}) => method in own.curves)
  .map(({method, experiment, own}) =>
    ({method, experiment, curve: own.curves[method], all: own.references.all})));

// Heights in the figure, in percentage points, of an accuracy, and of the line within so many points.
const height = (accuracy, all) => 100 * (SEVERAL ? accuracy - all : accuracy);
function lineHeight() {
  const {all} = panel().members[DATA.experiments[0]].references;
  return height(all, all) - within;
}

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

const called = ({method, experiment}) =>
  DATA.methods[method].name + (SEVERAL ? `, ${number(experiment)} ${experiment}` : "");

function hover(drawing, i) {
  const {curve} = drawing;
  const costs = DATA.axes.map(one => `${one.short} ${short(curve.costs[one.column][i])}`);
  const half = curve.ci95[i] === null ? "" : ` ± ${percent(curve.ci95[i])}`;
  const p05 = curve.p05[i] === null ? "" :
    `p05 ${percent(curve.p05[i])} % [${percent(curve.p05_low[i])}, ${percent(curve.p05_high[i])}]`;
  return [`<b>${plain(called(drawing))}</b>`, `mean ${percent(curve.mean[i])}${half} %`, p05,
    `${curve.chips[i]} chips`, ...costs].filter(Boolean).join("<br>");
}

// The line through a curve's points. On a logarithmic axis it is bent: points are joined by straight
// lines in cost, as crossings are found.
function path({curve, all}, costs, x) {
  const xs = [], ys = [], pieces = x.bent ? 12 : 1;
  curve.mean.forEach((mean, i) => {
    const next = i + 1 < costs.length && !curve.gaps[i] && costs[i + 1] !== null;
    if (costs[i] === null) return;
    for (let k = 0; k < (next ? pieces : 1); k++) {
      xs.push(x.to(costs[i] + (k ? k / pieces * (costs[i + 1] - costs[i]) : 0)));
      ys.push(height(mean + (k ? k / pieces * (curve.mean[i + 1] - mean) : 0), all));
    }
    if (!next) {
      xs.push(null);
      ys.push(null);
    }
  });
  return {x: xs, y: ys};
}

function traces(night) {
  const {column} = axis(), drawings = drawn();
  const all = drawings.flatMap(({curve}) => curve.costs[column]).filter(value => value !== null);
  const x = scale(all.length ? all : [0, 1], at("log").checked);
  const ground = GROUND[night ? "night" : "day"], crowded = drawings.length > 6;
  const lines = drawings.flatMap(drawing => {
    const {method, experiment, curve} = drawing;
    const look = DATA.methods[method], ink = colour(look, night);
    const costs = curve.costs[column], marks = [...costs.keys()].filter(i => costs[i] !== null);
    const common = {type: "scatter", name: plain(called(drawing)), legendgroup: `${method}/${experiment}`};
    const marker = {symbol: look.symbol, size: 8, color: look.filled ? ink : ground, line: {color: ink, width: 1.5}};
    return [{
      ...common, ...path(drawing, costs, x), mode: "lines", hoverinfo: "skip", showlegend: false,
      line: {color: ink, dash: look.dash, width: WIDTH},
    }, {
      ...common, x: [null], y: [null], mode: "lines+markers", marker, // an entry of the legend
      line: {color: ink, dash: look.dash, width: WIDTH},
    }, {
      ...common, showlegend: false, mode: SEVERAL ? "markers+text" : "markers", marker, hoverinfo: "text", meta: method,
      x: marks.map(i => x.to(costs[i])), y: marks.map(i => height(curve.mean[i], drawing.all)),
      hovertext: marks.map(i => hover(drawing, i)),
      text: marks.map((_, place) => SEVERAL && (!crowded || place === 1) ? String(number(experiment)) : ""),
      textposition: ROUND[(number(experiment) - 1) % ROUND.length], textfont: {color: ink, size: 12},
      error_y: {type: "data", array: marks.map(i => 100 * (curve.ci95[i] ?? 0)), color: ink, thickness: 1, width: 3},
    }];
  });
  return {lines, x, all};
}

// Lines that all methods of an experiment share: [name, height].
const levels = () => experiments().flatMap(name => {
  const own = panel().members[name].references;
  return Object.entries(own).map(([reference, value]) => [reference, height(value, own.all)]);
});

function figure(night = dark.matches, forPaper = false) {
  const {lines, x, all} = traces(night), shared = levels();
  const text = night ? "#e6e8eb" : "#1c1f24", rule = night ? "#3b424d" : "#d5d9df";
  const accent = night ? "#7cb8ff" : "#0b5cad";
  const line = lineHeight(), full = line + within;
  const heights = lines.flatMap(line => line.y).filter(value => value !== null);
  const top = Math.max(full, ...shared.map(([, value]) => value), ...heights);
  const bottom = at("near").checked ? Math.min(line, full - 2) - 0.5 * within
    : Math.min(line, ...heights, ...shared.filter(([name]) => name === "none").map(([, value]) => value));
  const room = 0.04 * (top - bottom) || 1, low = bottom - room;
  const shapes = shared.map(([name, value]) => ({
    type: "line", xref: "paper", x0: 0, x1: 1, y0: value, y1: value, layer: "below",
    line: {color: night ? "#a3abb6" : "#595959", width: 1, dash: DATA.references[name].dash},
  }));
  if (forPaper) shapes.push({type: "line", xref: "paper", x0: 0, x1: 1, y0: line, y1: line,
    line: {color: accent, width: 1}});
  for (const {method, curve} of drawn()) {
    const cost = spent(curve, within)?.[axis().column];
    if (!cost) continue;
    const ends = (cost.between ?? [cost.value, cost.value]).map(value => x.to(value));
    const ink = colour(DATA.methods[method], night);
    if (cost.between) shapes.push({type: "line", x0: ends[0], x1: ends[1], y0: line, y1: line,
      line: {color: ink, width: 4, dash: "dot"}});
    else shapes.push({type: "line", x0: ends[0], x1: ends[0], y0: low, y1: line,
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
    yaxis: {title: {text: SEVERAL ? "points above full write-verify" : "accuracy (%)"}, gridcolor: rule, zeroline: false, range: [low, top + room]},
    shapes,
  }};
}

const heading = () => [DATA.title, DATA.devices[panel().device], `σ = ${panel().sigma}`].filter(Boolean).join(", ");

// The handle lies over the figure at the height of the line.
function placeLine() {
  const y = at("plot")._fullLayout?.yaxis, line = at("line");
  if (!y) return;
  const top = y._offset + y.l2p(lineHeight());
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

// A row per curve that is drawn: costs with their intervals, over SWIM's, and a remark. Before the
// rows of several experiments one of their averages.
function rows() {
  const groups = Map.groupBy(drawn(), ({method}) => method);
  const swim = groups.get("swim") ?? everyCurve("swim");
  return [...groups.values()].flatMap(drawings => {
    const each = drawings.map(drawing => rowOf([drawing], swim.filter(one => one.experiment === drawing.experiment)));
    return each.length > 1 ? [rowOf(drawings, swim), ...each] : each;
  });
}

// The curves of a method that may not be drawn.
const everyCurve = method => experiments().map(experiment => ({experiment, own: panel().members[experiment]}))
  .filter(({own}) => method in own.curves).map(({experiment, own}) => ({experiment, curve: own.curves[method]}));

// Of each column the cost of one curve, or the average of several; null where some do not reach it.
function costsOf(drawings) {
  const each = drawings.map(({curve}) => spent(curve, within));
  if (each.length === 0 || each.includes(null)) return null;
  return Object.fromEntries(DATA.axes.map(({column}) => [column,
    each.length > 1 ? averaged(each.map(costs => costs[column]), DATA.student) : each[0][column]]));
}

function rowOf(drawings, swim) {
  const [{method, experiment, curve}] = drawings, several = drawings.length > 1;
  const costs = costsOf(drawings), {column} = axis();
  const row = {method, experiment: several ? "" : experiment, of: drawings.length, costs: {}};
  for (const one of DATA.axes) {
    const ends = several ? null : curve.intervals[one.column];
    row.costs[one.column] = {value: null, interval: ends ? interval(ends, panel().steps, within) : null,
      ...(costs?.[one.column])};
  }
  const own = row.costs[column].value, theirs = costsOf(swim)?.[column].value;
  row.ratio = own !== null && theirs ? own / theirs : null;
  row.note = remark(row.costs.nwc, drawings);
  return row;
}

function remark({value, between}, drawings) {
  const missing = drawings.filter(({curve}) => spent(curve, within) === null).length;
  if (missing) {
    const last = Math.min(...drawings.map(({curve}) => Math.max(...curve.costs.nwc)));
    const some = drawings.length > 1 ? ` by ${missing} of ${drawings.length} experiments` : "";
    return `not reached by NWC ${short(last)}${some}`;
  }
  if (between) return `between NWC ${short(between[0])} and ${short(between[1])}: not measured there`;
  if (value === 0) return "within at no rewrite";
  const least = Math.min(...drawings.flatMap(({curve}) => curve.costs.nwc).filter(one => one > 0));
  return value < least ? `below the first point, NWC ${short(least)}` : "";
}

const whose = row => row.experiment ? `${number(row.experiment)} ${row.experiment}` : `mean of ${row.of}`;

function heads() {
  return [["name", "method"], ...(SEVERAL ? [["experiment", "experiment"]] : []), ...DATA.axes.map(one => [one.column, one.short]),
    ["ratio", `${axis().short} / SWIM’s`], ["note", "remark"]];
}

function key(row, column) {
  if (column === "name") return DATA.methods[row.method].name.toLowerCase();
  if (column === "experiment") return row.experiment ? number(row.experiment) : 0;
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
    return make("th", {scope: "col", className: column === "experiment" ? "words" : ""}, button);
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
    const look = DATA.methods[row.method];
    const line = make("tr", {className: row.experiment ? "" : "mean"},
      make("td", {}, swatch(look, colour(look)), ` ${look.name}`),
      ...(SEVERAL ? [make("td", {className: "words"}, whose(row))] : []),
      ...DATA.axes.map(one => cell(row.costs[one.column])), make("td", {}, short(row.ratio)),
      make("td", {}, row.note));
    line.dataset.method = row.method;
    line.dataset.experiment = row.experiment;
    return line;
  }));
  listPoints();
}

function listPoints() {
  const words = ["method", ...(SEVERAL ? ["experiment"] : []), "fraction", ...DATA.axes.map(one => one.short), "mean (%)", "p05 (%)", "chips"];
  at("points").tHead.replaceChildren(make("tr", {}, ...words.map(word => make("th", {scope: "col"}, word))));
  at("points").tBodies[0].replaceChildren(...drawn().flatMap(({method, experiment, curve}) =>
    curve.mean.map((mean, i) => make("tr", {}, ...[
      DATA.methods[method].name, ...(SEVERAL ? [`${number(experiment)} ${experiment}`] : []), curve.fraction[i], ...DATA.axes.map(one => short(curve.costs[one.column][i])),
      percent(mean) + (curve.ci95[i] === null ? "" : ` ± ${percent(curve.ci95[i])}`),
      curve.p05[i] === null ? "–" : percent(curve.p05[i]), curve.chips[i] ?? "–",
    ].map(text => make("td", {}, String(text)))))));
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
    "between_low", "between_high", "remark", ...(SEVERAL ? ["intervals_over"] : [])];
  return [head, ...ordered().map(row => [row.experiment || whose(row), panel().device, panel().sigma, within,
    row.method, ...DATA.axes.flatMap(one => [row.costs[one.column].value, ...(one.resampled ? row.costs[one.column].interval ?? [null, null] : [])]),
    ...(row.costs.nwc.between ?? [null, null]), row.note,
    ...(SEVERAL ? [row.experiment ? "chips" : "experiments"] : [])])];
}

function tableOfCurves() {
  const columns = ["mean", "ci95", "p05", "p05_low", "p05_high", "chips"];
  const head = ["experiment", "device", "sigma", "method", "fraction",
    ...DATA.axes.map(one => one.column), ...columns];
  return [head, ...drawn().flatMap(({method, experiment, curve}) => curve.mean.map((_, i) =>
    [experiment, panel().device, panel().sigma, method, curve.fraction[i],
      ...DATA.axes.map(one => curve.costs[one.column][i]), ...columns.map(c => curve[c][i])]))];
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
  setWithin(nearest(lineHeight() + within - accuracy));
}

function choose() {
  const own = panel();
  at("subtitle").textContent = `${DATA.experiment}: ${DATA.devices[own.device]}, σ = ${own.sigma}`;
  at("within").max = own.steps.at(-1);
  at("slider").max = own.steps.length - 1;
  for (const name of ["min", "max"]) at("line").setAttribute(`aria-value${name}`, name === "min" ? 0 : own.steps.at(-1));
  listMethods();
  listReferences();
  setWithin(within);
}

function listReferences() {
  const known = experiments().map(name => [number(name), panel().members[name].references]);
  at("references").replaceChildren(...Object.entries(DATA.references).flatMap(([name, look]) => {
    const values = known.filter(([, own]) => name in own).map(([place, own]) =>
      `${percent(own[name])} %${SEVERAL ? ` (${place})` : ""}`);
    return values.length ? [make("li", {}, swatch(look, "currentColor"), `${look.name} ${values.join(", ")}`)] : [];
  }));
}

function listMethods() {
  const names = METHODS.filter(name => Object.values(panel().members).some(own => name in own.curves));
  at("methods").replaceChildren(...names.map(name => {
    const look = DATA.methods[name], box = make("input", {type: "checkbox", checked: shown.has(name), value: name});
    box.onchange = () => {
      shown[box.checked ? "add" : "delete"](name);
      update();
    };
    return make("label", {}, box, swatch(look, colour(look)), make("span", {}, look.name));
  }));
}

// Made once: they are the same for every device and sigma.
function listExperiments() {
  at("compared").hidden = !SEVERAL;
  at("averages").hidden = !SEVERAL;
  at("experiments").replaceChildren(...DATA.experiments.map(name => {
    const box = make("input", {type: "checkbox", checked: true, value: name});
    box.onchange = () => {
      compared[box.checked ? "add" : "delete"](name);
      listReferences();
      update();
    };
    return make("label", {}, box, make("span", {}, `${number(name)} ${name}`));
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
  listExperiments();
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
