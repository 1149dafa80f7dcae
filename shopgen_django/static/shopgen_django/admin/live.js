// Live progress: asks one address for the rows that are shown, while something is active and the tab is visible.
// Without this file the pages work by reloading them.
const SECONDS = 2;

function poll(ask) {
    let timer = null;
    const stop = () => { window.clearTimeout(timer); timer = null; };
    const later = (seconds) => { stop(); timer = window.setTimeout(turn, seconds * 1000); };
    async function turn() {
        if (document.hidden) { return; }
        let goOn = true;
        let pause = SECONDS;
        try {
            goOn = await ask();
        } catch {
            pause = SECONDS * 5;
        }
        if (goOn) { later(pause); }
    }
    document.addEventListener("visibilitychange", () => (document.hidden ? stop() : turn()));
    later(SECONDS);
}

async function getJson(url) {
    const answer = await fetch(url, { headers: { Accept: "application/json" }, credentials: "same-origin" });
    if (!answer.ok) { throw new Error(String(answer.status)); }
    return answer.json();
}

function setText(element, text) {
    if (element && element.textContent !== text) { element.textContent = text; }
}

function showJob(root, id, job) {
    const bar = root.querySelector(`[data-sg-job="${id}"]`);
    if (bar) {
        bar.dataset.sgActive = job.active ? "1" : "";
        bar.querySelector("progress").value = job.percent;
        setText(bar.querySelector(".sg-percent"), `${job.percent} %`);
    }
    const badge = root.querySelector(`[data-sg-state="${id}"] .sg-badge`);
    if (badge) {
        badge.className = `sg-badge sg-badge-${job.state}`;
        setText(badge, job.label);
    }
    setText(root.querySelector(`[data-sg-note="${id}"]`), job.note);
}

function showWarnings(texts) {
    const place = document.querySelector("[data-sg-warnings]");
    if (!place) { return; }
    const now = [...place.children].map((element) => element.textContent);
    if (now.join("\n") === texts.join("\n")) { return; }
    place.replaceChildren(...texts.map((text) => {
        const line = document.createElement("p");
        line.className = "sg-warning";
        line.textContent = text;
        return line;
    }));
}

function watchJobs(root) {
    const active = () => [...root.querySelectorAll('[data-sg-job][data-sg-active="1"]')].map((bar) => bar.dataset.sgJob);
    if (active().length === 0) { return; }
    poll(async () => {
        const query = active().map((id) => `id=${encodeURIComponent(id)}`).join("&");
        const answer = await getJson(`${root.dataset.sgLiveJobs}?${query}`);
        for (const [id, job] of Object.entries(answer.jobs)) { showJob(root, id, job); }
        showWarnings(answer.warnings);
        const goOn = active().length > 0;
        // The results of a finished job are on its page only after a reload.
        if (!goOn && "sgReload" in root.dataset) { window.location.reload(); }
        return goOn;
    });
}

function watchPart(root) {
    if (root.dataset.sgActive !== "1") { return; }
    poll(async () => {
        const answer = await getJson(root.dataset.sgLivePart);
        if (root.innerHTML !== answer.html) { root.innerHTML = answer.html; }
        // Rows that came into being meanwhile are in the list only after a reload.
        if (!answer.active && "sgReload" in root.dataset) { window.location.reload(); }
        return answer.active;
    });
}

function start() {
    document.querySelectorAll("[data-sg-live-jobs]").forEach(watchJobs);
    document.querySelectorAll("[data-sg-live-part]").forEach(watchPart);
}

if (document.readyState === "loading") {
    document.addEventListener("DOMContentLoaded", start);
} else {
    start();
}
