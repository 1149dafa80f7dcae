// Keys of the review desk and of the grid. Everything they do is also a button or a link.
const ALIASES = { ArrowRight: "n", ArrowLeft: "p" };

function typing(target) {
    return target.matches("textarea, select, [contenteditable]")
        || (target.matches("input") && !["checkbox", "radio", "button", "submit", "range"].includes(target.type));
}

function deskKeys(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) { return; }
    if (event.key === "Escape" && typing(event.target)) { event.target.blur(); return; }
    if (typing(event.target)) { return; }
    if (event.target.matches("input[type=range]") && event.key in ALIASES) { return; }
    const key = ALIASES[event.key] ?? event.key.toLowerCase();
    const element = document.querySelector(`[data-sg-key="${CSS.escape(key)}"]`);
    if (!element) { return; }
    event.preventDefault();
    if (element.matches("input")) { element.focus(); } else { element.click(); }
}

// A second press while the first is under way would decide on the next picture unseen.
function once(form) {
    form.addEventListener("submit", (event) => {
        if (form.dataset.sent) { event.preventDefault(); return; }
        form.dataset.sent = "1";
    });
}

function grid(form) {
    const boxes = [...form.querySelectorAll('input[name="pk"]')];
    const all = form.querySelector("[data-sg-all]");
    const count = form.querySelector("[data-sg-count]");
    const show = () => {
        const chosen = boxes.filter((box) => box.checked).length;
        count.textContent = String(chosen);
        all.checked = chosen === boxes.length;
        all.indeterminate = chosen > 0 && chosen < boxes.length;
    };
    all.addEventListener("change", () => {
        boxes.forEach((box) => { box.checked = all.checked; });
        show();
    });
    form.addEventListener("change", show);
    form.addEventListener("keydown", (event) => {
        if (event.key === "Enter" && typing(event.target)) {
            event.preventDefault();
            form.querySelector("[data-sg-enter]").click();
            return;
        }
        const at = boxes.indexOf(event.target);
        if (at < 0) { return; }
        const top = (box) => box.closest("li").offsetTop;
        const columns = boxes.filter((box) => top(box) === top(boxes[0])).length || 1;
        const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[event.key];
        if (step === undefined) { return; }
        event.preventDefault();
        boxes[Math.min(boxes.length - 1, Math.max(0, at + step))].focus();
    });
    show();
}

if (document.querySelector("[data-sg-review]")) { document.addEventListener("keydown", deskKeys); }
document.querySelectorAll(".sg-decide").forEach(once);
document.querySelectorAll("[data-sg-grid]").forEach(grid);
document.querySelectorAll("[data-sg-submit]").forEach((select) => {
    select.addEventListener("change", () => select.form.requestSubmit());
});
// A page from the browser's back cache must work again.
window.addEventListener("pageshow", () => {
    document.querySelectorAll(".sg-decide").forEach((form) => { delete form.dataset.sent; });
});
