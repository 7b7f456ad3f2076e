// Shows the result next to the search form after every change. The form also works without this script.
"use strict";

const form = document.getElementById("search");
const answer = document.getElementById("answer");
const brief = document.getElementById("brief");
const root = document.body.dataset.root;
const preset = form.elements.preset;
const space = form.elements.space;
const sliders = [...form.querySelectorAll("[data-slides]")];
const DECADES = 4; // a slider covers 1/10,000 to 1 of the cost of the most expensive network
const PAUSE_MS = 25;

let most = {};
let chosen = preset.value;
let loaded = ""; // the definition of a preset, as it was written into the field
let running = null;
let timer = 0;

function short(value) {
  for (const [size, unit] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (value >= size) return `${Number((value / size).toPrecision(3))}${unit}`;
  }
  return String(Math.round(value));
}

function read(text) {
  const found = /^([\d.,_ ]+)\s*(k|m|g|ki|mi|gi)?b?$/i.exec(text.trim());
  if (!found) return null;
  const units = { k: 1e3, m: 1e6, g: 1e9, ki: 1024, mi: 1024 ** 2, gi: 1024 ** 3 };
  return Number(found[1].replace(/[,_ ]/g, "")) * (units[(found[2] || "").toLowerCase()] || 1);
}

function place(slider) {
  const value = read(form.elements[slider.dataset.slides].value);
  const end = most[slider.dataset.slides];
  const share = value && end ? 1 + Math.log10(value / end) / DECADES : 1;
  slider.value = Math.round(1000 * Math.min(1, Math.max(0, share)));
  slider.setAttribute("aria-valuetext", form.elements[slider.dataset.slides].value || "no limit");
}

function slide(event) {
  const slider = event.target;
  if (!most[slider.dataset.slides]) return; // the space is not known before the first result
  const field = form.elements[slider.dataset.slides];
  const share = Number(slider.value) / 1000;
  field.value = share >= 1 ? "" : short(most[slider.dataset.slides] * 10 ** (DECADES * (share - 1))) + (field.dataset.unit === "bytes" ? "B" : "");
  slider.setAttribute("aria-valuetext", field.value || "no limit");
  ask();
}

function showPreset() {
  const chosen = preset.selectedOptions[0];
  document.getElementById("about").textContent = chosen.dataset.about;
  most = JSON.parse(chosen.dataset.most);
  sliders.forEach(place);
}

function showGoal() {
  const goal = form.elements.goal.value;
  for (const part of form.querySelectorAll("[data-goals]")) {
    part.hidden = !part.dataset.goals.split(" ").includes(goal);
  }
  for (const option of form.elements.cost.options) {
    option.disabled = (option.value.includes("+") && goal !== "front") || (!("sum" in option.dataset) && goal === "largest");
    if (option.disabled && option.selected) form.elements.cost.selectedIndex = 0;
  }
}

function showProblems(problems) {
  for (const place of form.querySelectorAll("[data-problem]")) {
    const said = problems[place.dataset.problem] || [];
    place.textContent = said.join("; ");
    const field = form.elements[place.dataset.problem];
    if (field && field.setAttribute) field.setAttribute("aria-invalid", String(said.length > 0));
  }
}

// on a small screen the result is below the form, so moving a slider hides it
function showBriefly() {
  const best = form.elements.goal.value === "front" ? null : answer.querySelector("tbody tr"); // of a front none is the best
  const said = best ? `NN-Mass ${best.cells[1].textContent} · ${best.cells[2].textContent} params · ${best.cells[3].textContent} MACs` : "";
  brief.textContent = said || answer.textContent.trim().slice(0, 90);
  brief.hidden = false;
}

function fragment(id) {
  const found = answer.querySelector(`#${id}`);
  return found ? JSON.parse(found.textContent) : null;
}

async function preview() {
  if (running) running.abort();
  const mine = (running = new AbortController());
  const started = performance.now();
  try {
    const body = new URLSearchParams(new FormData(form));
    const response = await fetch(`${root}/ui/preview`, { method: "POST", body, signal: mine.signal });
    if (response.redirected) return location.reload(); // signed out meanwhile
    const page = await response.text();
    if (response.status >= 500 || response.status === 429) throw new Error("The service is busy. Retrying.");
    answer.innerHTML = page;
    showProblems(fragment("found") || {});
    showBriefly();
    const found = fragment("most");
    if (found && (space.value.trim() || form.elements.around.value.trim() || !preset.value)) {
      most = found;
      sliders.forEach(place);
    }
    answer.dataset.ms = String(Math.round(performance.now() - started));
    answer.dataset.answers = String(Number(answer.dataset.answers || 0) + 1);
  } catch (error) {
    if (error.name === "AbortError") return;
    answer.textContent = error instanceof TypeError ? "The service does not respond. Retrying." : error.message;
    timer = setTimeout(preview, 2000);
  }
}

function ask() {
  clearTimeout(timer);
  timer = setTimeout(preview, PAUSE_MS);
}

// a definition that a person has changed is lost only if this person says so
function mayReplaceSpace() {
  const text = space.value.trim();
  return text === "" || text === loaded || confirm("The definition of the space has been edited. Discard it?");
}

async function loadDefinition() {
  if (!preset.value || !mayReplaceSpace()) return;
  const response = await fetch(`${root}/v1/spaces/${preset.value}`);
  if (!response.ok) return;
  space.value = loaded = JSON.stringify(await response.json(), null, 1);
  ask();
}

function choosePreset() {
  if (!mayReplaceSpace()) {
    preset.value = chosen;
    return;
  }
  chosen = preset.value;
  space.value = "";
}

function showUsualPrecision() {
  const selected = ["device", "devices"].flatMap((name) => [...document.getElementById(name).selectedOptions]);
  const named = selected.filter((option) => option.value);
  const found = named.map((option) => option.dataset.precision);
  const usual = ["int8", "fp16", "fp32"].find((precision) => found.includes(precision)) || "fp32";
  const whose = named.length > 1 ? " for these devices" : named.length ? " for this device" : "";
  document.getElementById("usual").textContent = `${usual}, the default${whose}`;
}

function fillDevice(event) {
  const chosen = event.target.selectedOptions[0];
  const limits = JSON.parse(chosen.dataset.limits || "{}");
  // a limit in the form replaces that of a reference; the device limits memory without it, too
  const shown = form.elements.within.value.trim() ? {} : limits;
  for (const field of form.querySelectorAll("[data-memory]")) {
    field.value = field.name in shown ? shown[field.name].toLocaleString("en") : "";
  }
  form.elements.precision.value = "";
  showUsualPrecision();
  document.getElementById("device-about").textContent = chosen.dataset.about || "";
  sliders.forEach(place);
  ask();
}

// the limits that only repeat those of the device give way to those of the reference
function clearDevice() {
  const limits = JSON.parse(form.elements.device.selectedOptions[0].dataset.limits || "{}");
  for (const field of form.querySelectorAll("[data-memory]")) {
    if (field.name in limits && read(field.value) === limits[field.name]) field.value = "";
  }
}

for (const slider of sliders) {
  slider.hidden = false;
  slider.addEventListener("input", slide);
}
form.addEventListener("input", (event) => {
  if (event.target.dataset.slides || event.target.id === "device") return;
  if (event.target === preset) choosePreset();
  if (event.target.id === "within" && event.target.value.trim()) clearDevice();
  showPreset();
  showGoal();
  showUsualPrecision();
  ask();
});
document.getElementById("space-actions").hidden = false;
document.getElementById("load").addEventListener("click", loadDefinition);
document.getElementById("clear").addEventListener("click", () => {
  if (!mayReplaceSpace()) return;
  space.value = "";
  ask();
});
document.getElementById("device").addEventListener("input", fillDevice);
showPreset();
showGoal();
showUsualPrecision();
preview();
