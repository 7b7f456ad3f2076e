// Follows a running job, and loads slow parts of a page after the page itself.
"use strict";

const progress = document.getElementById("progress");
if (progress) {
  const bar = progress.querySelector("progress");
  const words = progress.querySelector("span");
  const badge = document.querySelector("h1 .badge");
  const stream = new EventSource(progress.dataset.events);
  let status = "";
  setInterval(async () => { // the place in the queue changes without an event of this job
    if (status !== "queued") return;
    const response = await fetch(progress.dataset.events.replace(/\/events$/, "")).catch(() => null);
    const now = response && response.ok ? await response.json() : {};
    if (status === "queued" && now.waiting) words.textContent = now.progress.message;
  }, 3000);
  const show = (event) => {
    const data = JSON.parse(event.data);
    const first = status === "" && data.status === "queued"; // the page already says more than the event
    status = data.status;
    badge.className = `badge ${status}`;
    badge.textContent = status;
    bar.value = data.fraction;
    if (!first) words.textContent = data.message || data.status;
    if (data.epoch) document.dispatchEvent(new CustomEvent("epoch", { detail: data }));
  };
  stream.addEventListener("status", show);
  stream.addEventListener("progress", show);
  stream.addEventListener("done", () => {
    stream.close();
    location.reload();
  });
}

for (const part of document.querySelectorAll("[data-part]")) {
  fetch(part.dataset.part)
    .then((response) => (response.ok && !response.redirected ? response.text() : Promise.reject(new Error(response.statusText))))
    .then((page) => { part.innerHTML = page; })
    .catch(() => { part.dataset.failed = "true"; }); // the link to the same page stays
}

async function renew() {
  const response = await fetch(location.href).catch(() => null);
  if (response && (!response.ok || response.redirected)) return;
  const page = response && new DOMParser().parseFromString(await response.text(), "text/html");
  for (const part of page ? document.querySelectorAll("[data-changes]") : []) {
    const now = page.getElementById(part.id);
    if (!now || now.dataset.changes === undefined) delete part.dataset.changes;
    if (now && now.innerHTML !== part.innerHTML) part.replaceChildren(...now.childNodes);
  }
  document.dispatchEvent(new Event("renewed"));
  if (document.querySelector("[data-changes]")) setTimeout(renew, 3000);
}

if (document.querySelector("[data-changes]")) setTimeout(renew, 3000);
