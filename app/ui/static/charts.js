// Draws charts with Plotly, loaded only on pages with a chart. The tables of the page show the same figures.
"use strict";

const root = document.body.dataset.root;
const dark = matchMedia("(prefers-color-scheme: dark)");

const data = (id) => JSON.parse(document.getElementById(id).textContent);
const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function load(address) {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = address;
    script.onload = resolve;
    script.onerror = reject;
    document.head.append(script);
  });
}

function layout(more) {
  const axis = { gridcolor: color("--line"), zerolinecolor: color("--line"), linecolor: color("--line"), automargin: true };
  const made = {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: color("--text"), size: 13 },
    margin: { l: 60, r: 16, t: 12, b: 48 }, legend: { orientation: "h", y: 1.12 }, hovermode: "closest", ...more,
  };
  for (const name of Object.keys(more).filter((key) => /axis/.test(key))) made[name] = { ...axis, ...more[name] };
  return made;
}

function draw(place, traces, more) {
  Plotly.react(place, traces, layout(more), { displaylogo: false, responsive: true, displayModeBar: false });
}

function fronted(points, cost) {
  let best = -Infinity;
  return [...points].sort((a, b) => a[cost] - b[cost] || b.nn_mass - a.nn_mass).filter((point) => {
    const better = point.nn_mass > best;
    if (better) best = point.nn_mass;
    return better;
  });
}

async function ranking(place) {
  const points = data("points");
  const limits = data("limits");
  const against = document.getElementById("against");
  document.getElementById("chart-choice").hidden = false;
  const isFront = place.dataset.kind === "front";
  const known = {};
  async function show() {
    const cost = against.value;
    if (!isFront && !known[cost]) {
      const response = await fetch(`${place.dataset.front}?cost=${cost}`);
      known[cost] = response.ok && !response.redirected ? await response.json() : [];
    }
    const bound = limits[`max_${cost}`];
    const front = fronted([...(known[cost] || []), ...points], cost);
    const traces = [
      { name: isFront ? "Pareto front" : "proved points of the Pareto front", x: front.map((p) => p[cost]), y: front.map((p) => p.nn_mass), mode: "lines+markers",
        line: { shape: "hv", color: color("--front"), width: 1.5 }, marker: { size: 5, color: color("--front") } },
      { name: isFront ? "points" : "ranking", x: points.map((p) => p[cost]), y: points.map((p) => p.nn_mass), mode: "markers",
        marker: { size: 10, color: color("--accent"), line: { color: color("--back"), width: 1 } }, customdata: points.map((p) => p.arch_id),
        text: points.map((p) => `${isFront ? "point" : "rank"} ${p.position}`), hovertemplate: "%{text}<br>NN-Mass %{y:,.3f}<br>%{x:,}<extra></extra>" },
    ];
    const shapes = bound ? [{ type: "line", x0: bound, x1: bound, yref: "paper", y0: 0, y1: 1, line: { color: color("--mark"), dash: "dash" } }] : [];
    const annotations = bound ? [{ x: bound, yref: "paper", y: 1, text: "budget", showarrow: false, xanchor: "left", font: { color: color("--mark") } }] : [];
    draw(place, traces, { xaxis: { title: { text: against.selectedOptions[0].dataset.label } }, yaxis: { title: { text: "NN-Mass" } }, shapes, annotations });
    place.dataset.drawn = cost;
  }
  await show();
  against.addEventListener("input", show);
  dark.addEventListener("change", show);
  place.on("plotly_click", (event) => {
    const id = event.points[0].customdata;
    if (id) location.href = `${root}/architectures/${id}?precision=${place.dataset.precision}`;
  });
}

// the distance between ticks at whole epochs: 1, 2, 5, 10, ... so that there are at most ten
function epochsApart(last) {
  for (let size = 1; ; size *= 10) {
    for (const step of [1, 2, 5]) if (last <= 10 * step * size) return step * size;
  }
}

function curves(place) {
  const runs = data("runs");
  const names = ["epoch", "train_loss", "train_accuracy", "test_accuracy", "validation_accuracy"];
  // with a validation part the test images are read after the last epoch only: a diamond beside the curve
  const isValidated = place.dataset.validated === "true";
  let loaded = false;
  function show() {
    const drawn = runs.flatMap((run) => run.epoch);
    if (!loaded || drawn.length === 0) return;
    // copies: Plotly takes an array that it already has for unchanged, and draws none of its new points
    const traces = runs.filter((run) => run.epoch.length).flatMap((run) => [
      ...(isValidated ? [{ name: `seed ${run.seed}, validation accuracy`, x: [...run.epoch], y: [...run.validation_accuracy], mode: "lines+markers", marker: { size: 5 }, cliponaxis: false }] : []),
      { name: `seed ${run.seed}, test accuracy`, x: [...run.epoch], y: [...run.test_accuracy], mode: "lines+markers", marker: isValidated ? { size: 10, symbol: "diamond" } : { size: 5 }, cliponaxis: false },
      { name: `seed ${run.seed}, train loss`, x: [...run.epoch], y: [...run.train_loss], mode: "lines", line: { dash: "dot" }, yaxis: "y2" },
    ]);
    place.hidden = false;
    document.getElementById("no-epochs").hidden = true;
    draw(place, traces, { uirevision: "curves", xaxis: { title: { text: "epoch" }, tick0: 0, dtick: epochsApart(Math.max(...drawn)) },
      yaxis: { title: { text: isValidated ? "accuracy" : "test accuracy" }, tickformat: ".0%", range: [0, 1] },
      yaxis2: { title: { text: "train loss" }, overlaying: "y", side: "right", showgrid: false, rangemode: "tozero" } });
    place.dataset.drawn = String(drawn.length);
  }
  // before the library is there: no event comes twice
  document.addEventListener("epoch", ({ detail }) => {
    const seed = detail.epoch.seed;
    let run = runs.find((one) => one.seed === seed);
    if (!run) runs.push((run = { seed, ...Object.fromEntries(names.map((name) => [name, []])) }));
    if (run.epoch.includes(detail.epoch.epoch)) return;
    for (const name of names) run[name].push(detail.epoch[name]);
    show();
  });
  return () => {
    loaded = true;
    show();
    dark.addEventListener("change", show);
  };
}

async function evidence(place) {
  const points = data("points");
  const measures = Object.entries(data("measures"));
  const own = place.dataset.accuracy;
  const across = 3;
  const rows = Math.ceil(measures.length / across);
  const numbered = (axis, number) => (number === 1 ? axis : `${axis}${number}`);
  if (rows > 1) place.style.height = `${420 * rows}px`;
  function show() {
    const roles = [...new Set(points.map((p) => p.role))];
    const colors = [color("--accent"), color("--mark"), color("--front"), color("--quiet")];
    const figure = own ? "%{y:,}" : "%{y:.2%}";
    const traces = measures.flatMap(([name], i) => roles.map((role, k) => {
      const mine = points.filter((p) => p.role === role && p[name] !== null);
      return { name: role.replace("_", " "), legendgroup: role, showlegend: i === 0, x: mine.map((p) => p[name]), y: mine.map((p) => p.accuracy),
        mode: "markers", marker: { size: 8, color: colors[k % 4] }, customdata: mine.map((p) => p.arch_id), text: mine.map((p) => (p.name ? `${p.name}<br>` : "")),
        xaxis: numbered("x", i + 1), yaxis: numbered("y", Math.floor(i / across) + 1), hovertemplate: `%{text}${figure}<br>%{x:,}<extra></extra>` };
    }));
    const axes = {};
    measures.forEach(([, label], i) => {
      const column = i % across;
      axes[`xaxis${i + 1}`] = { title: { text: label }, anchor: numbered("y", Math.floor(i / across) + 1),
        domain: [column / across + 0.02, (column + 1) / across - 0.02] };
    });
    for (let row = 0; row < rows; row += 1) {
      axes[numbered("yaxis", row + 1)] = { title: { text: own || "test accuracy" }, ...(own ? {} : { tickformat: ".1%" }),
        anchor: numbered("x", row * across + 1), domain: [1 - (row + 1) / rows + (rows > 1 ? 0.08 : 0), 1 - row / rows] };
    }
    draw(place, traces, axes);
    place.dataset.drawn = String(points.length);
  }
  show();
  dark.addEventListener("change", show);
  place.on("plotly_click", (event) => { location.href = `${root}/architectures/${event.points[0].customdata}`; });
}

// color and shape by role; networks of an unknown role are gray circles
const ROLES = {
  ranked: ["--accent", "circle"], best_predicted: ["--accent", "star"], most_uncertain: ["--accent", "diamond"], spread: ["--front", "circle"],
  known: ["--quiet", "square"], random: ["--mark", "square"], most_nn_mass: ["--bad", "triangle-up"], spend: ["--bad", "triangle-down"],
  most_macs: ["--bad", "cross"], most_params: ["--bad", "x"], confirm: ["--quiet", "circle-open"],
};

function campaign(place) {
  const axis = document.getElementById("axis");
  const second = document.getElementById("progress-chart");
  const limits = data("limits");
  const kind = document.getElementById("kind"); // only where a part of the training images is held out
  const label = () => (kind ? kind.selectedOptions[0].textContent.split(",")[0] : "test images");
  const read = () => data("points").map((p) => ({ ...p, accuracy: kind ? p[kind.value] : p.accuracy, predicted: kind && kind.value === "accuracy" ? null : p.predicted }));

  function byRole(points, x) {
    return [...new Set(points.map((p) => p.role))].map((role) => {
      const mine = points.filter((p) => p.role === role);
      const [name, symbol] = ROLES[role] || ["--quiet", "circle"];
      return { name: mine[0].label, x: mine.map(x), y: mine.map((p) => p.accuracy), mode: "markers",
        marker: { size: 10, color: color(name), symbol }, customdata: mine.map((p) => p.arch_id),
        text: mine.map((p) => `${p.number}: ${p.name}<br>${p.label}${p.known ? ", known before" : ""}`),
        hovertemplate: "%{text}<br>%{y:.2%}<br>%{x:,}<extra></extra>" };
    });
  }

  function predictions(points, x) {
    const some = points.filter((p) => p.predicted);
    return some.length === 0 ? [] : [{ name: "predicted, 95 % interval", x: some.map(x), y: some.map((p) => p.predicted.accuracy), mode: "markers",
      marker: { size: 7, symbol: "line-ew-open", color: color("--quiet") }, hovertemplate: "predicted %{y:.2%}<extra></extra>",
      error_y: { type: "data", symmetric: false, color: color("--line"), thickness: 2, width: 4,
        array: some.map((p) => p.predicted.high - p.predicted.accuracy), arrayminus: some.map((p) => p.predicted.accuracy - p.predicted.low) } }];
  }

  function drawCosts(points) {
    const bound = limits[axis.value];
    const x = (p) => p[axis.value];
    const shapes = bound ? [{ type: "line", x0: bound, x1: bound, yref: "paper", y0: 0, y1: 1, line: { color: color("--mark"), dash: "dash" } }] : [];
    const annotations = bound ? [{ x: bound, yref: "paper", y: 1, text: "budget", showarrow: false, xanchor: "right", font: { color: color("--mark") } }] : [];
    draw(place, [...predictions(points, x), ...byRole(points.filter((p) => p.accuracy !== null), x)],
      { xaxis: { title: { text: axis.selectedOptions[0].textContent } }, yaxis: { title: { text: `accuracy, ${label()}`, standoff: 12 }, tickformat: ".1%" }, shapes, annotations });
    place.dataset.drawn = axis.value;
  }

  function drawBest(points) {
    const networks = points.filter((p) => p.role !== "confirm");
    const measured = networks.filter((p) => p.accuracy !== null);
    let best = -Infinity;
    const line = measured.map((p) => (best = Math.max(best, p.accuracy)));
    const starts = networks.filter((p, i) => i > 0 && p.round !== networks[i - 1].round);
    const shapes = starts.map((p) => ({ type: "line", x0: p.number - 0.5, x1: p.number - 0.5, yref: "paper", y0: 0, y1: 1, line: { color: color("--line"), dash: "dot" } }));
    const annotations = starts.map((p) => ({ x: p.number - 0.5, yref: "paper", y: 1, text: `round ${p.round}`, showarrow: false, xanchor: "left", yanchor: "bottom", font: { color: color("--quiet") } }));
    const traces = [{ name: "best so far", x: measured.map((p) => p.number), y: line, mode: "lines", line: { shape: "hv", color: color("--accent"), width: 2 }, hovertemplate: "best so far %{y:.2%}<extra></extra>" }, ...byRole(measured, (p) => p.number)];
    draw(second, traces, { showlegend: false, margin: { l: 60, r: 16, t: 28, b: 48 }, xaxis: { title: { text: "networks, in order of choice" }, dtick: Math.ceil(networks.length / 16), tick0: 1 },
      yaxis: { title: { text: `accuracy, ${label()}`, standoff: 12 }, tickformat: ".1%" }, shapes, annotations });
    second.dataset.drawn = String(measured.length);
  }

  function show() {
    const points = read();
    if (!points.some((p) => p.accuracy !== null)) return;
    document.getElementById("measured").hidden = false;
    document.getElementById("none-measured").hidden = true;
    document.getElementById("chart-choice").hidden = false;
    drawCosts(points);
    drawBest(points);
  }

  return () => {
    show();
    axis.addEventListener("input", show);
    if (kind) kind.addEventListener("input", show);
    document.addEventListener("renewed", show);
    dark.addEventListener("change", show);
    for (const chart of [place, second]) {
      if (chart.on) chart.on("plotly_click", (event) => { const id = event.points[0].customdata; if (id) location.href = `${root}/architectures/${id}`; });
    }
  };
}

for (const [id, chart] of Object.entries({ chart: () => ranking, curves, evidence: () => evidence, campaign })) {
  const place = document.getElementById(id);
  if (!place) continue;
  const start = chart(place);
  load(place.dataset.library).then(() => start(place)).catch((error) => {
    place.hidden = false;
    place.textContent = "Could not draw the chart. The tables have the same figures.";
    console.error(error);
  });
}
