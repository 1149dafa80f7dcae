// Before and after over each other, with a slider between them. Without scripts the two stand side by side.
// Only pictures of one shape are laid over each other: after a crop, left and right would show different places.
const ALIKE = 0.02;

function loaded(image) {
    return image.complete && image.naturalWidth ? Promise.resolve() : image.decode();
}

function alike(one, other) {
    const shape = (image) => image.naturalWidth / image.naturalHeight;
    return Math.abs(shape(one) / shape(other) - 1) <= ALIKE;
}

function build(stage, before, after) {
    const words = stage.dataset;
    const box = document.createElement("div");
    box.className = "sg-slider";
    box.hidden = true;
    const under = before.cloneNode();
    const over = after.cloneNode();
    over.className = "sg-slider-after";
    const range = document.createElement("input");
    Object.assign(range, { type: "range", min: "0", max: "100", value: "50" });
    range.setAttribute("aria-label", words.sgSlide);
    const line = document.createElement("span");
    line.className = "sg-slider-line";
    line.setAttribute("aria-hidden", "true");
    const pictures = document.createElement("div");
    pictures.className = "sg-slider-pictures";
    pictures.style.aspectRatio = `${after.naturalWidth} / ${after.naturalHeight}`;
    pictures.append(under, over, line);
    const ends = document.createElement("p");
    ends.className = "sg-slider-ends sg-quiet";
    for (const text of [words.sgBefore, words.sgAfter]) {
        const end = document.createElement("span");
        end.textContent = text;
        ends.append(end);
    }
    box.append(pictures, range, ends);
    const show = () => {
        over.style.clipPath = `inset(0 0 0 ${range.value}%)`;
        line.style.left = `${range.value}%`;
        range.setAttribute("aria-valuetext", `${range.value} %`);
    };
    range.addEventListener("input", show);
    pictures.addEventListener("pointermove", (event) => {
        if (event.pointerType === "mouse" && !event.buttons) { return; }
        const edges = pictures.getBoundingClientRect();
        range.value = String(Math.round(100 * (event.clientX - edges.left) / edges.width));
        show();
    });
    show();
    return { box, range };
}

function switchable(stage, pair, slider) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "button sg-plain sg-slider-switch";
    button.dataset.sgKey = "s";
    button.setAttribute("aria-keyshortcuts", "S");
    const show = (over) => {
        slider.box.hidden = !over;
        pair.hidden = over;
        button.textContent = over ? stage.dataset.sgBeside : stage.dataset.sgOver;
        button.setAttribute("aria-pressed", String(over));
        localStorage.setItem("sg-slider", over ? "over" : "beside");
    };
    button.addEventListener("click", () => {
        show(slider.box.hidden);
        if (!slider.box.hidden) { slider.range.focus(); }
    });
    stage.after(slider.box, button);
    show(localStorage.getItem("sg-slider") === "over");
}

for (const stage of document.querySelectorAll("[data-sg-slide]")) {
    const images = [...stage.querySelectorAll("img")];
    if (images.length === 2) {
        Promise.all(images.map(loaded)).then(() => {
            if (alike(...images)) { switchable(stage, stage, build(stage, ...images)); }
        });
    }
}
