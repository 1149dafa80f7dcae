// Marks on a picture, made with mouse, finger or keys: brush strokes, a box, four corners. The form's fields stay the
// truth: what is painted is written into them as JSON, and without this file they are filled in by hand.
const LEAST_MOVE = 0.003;
const MOST_STROKES = 500;
const COLOURS = { keep: "#12a150", drop: "#d4380d" };

const clamp = (value) => Math.min(1, Math.max(0, value));
const round = (value) => Math.round(value * 1e4) / 1e4;

function read(field) {
    try {
        return JSON.parse(field.value.trim() || "null");
    } catch {
        return null;
    }
}

function element(name, properties = {}, ...children) {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
}

// What has been made, and how to get back: every change is a new set of marks.
class Marks {
    constructor(fields) {
        this.fields = fields;
        this.now = {};
        for (const [kind, field] of Object.entries(fields)) { this.now[kind] = read(field); }
        this.past = [];
        this.future = [];
    }

    change(kind, value) {
        this.past.push(this.now);
        this.future = [];
        this.now = { ...this.now, [kind]: value };
        this.write();
    }

    step(from, to) {
        if (!from.length) { return false; }
        to.push(this.now);
        this.now = from.pop();
        this.write();
        return true;
    }

    undo() { return this.step(this.past, this.future); }

    redo() { return this.step(this.future, this.past); }

    write() {
        for (const [kind, field] of Object.entries(this.fields)) {
            const value = this.now[kind];
            field.value = value && value.length ? JSON.stringify(value) : "";
            field.dispatchEvent(new Event("change", { bubbles: true }));
        }
    }
}

// Corners in the order that the field wants: from the top left, clockwise.
function ordered(corners) {
    const middle = [0, 1].map((axis) => corners.reduce((sum, corner) => sum + corner[axis], 0) / corners.length);
    const angle = ([x, y]) => (Math.atan2(y - middle[1], x - middle[0]) + 2.5 * Math.PI + Math.PI / 2) % (2 * Math.PI);
    const around = [...corners].sort((one, other) => angle(one) - angle(other));
    const first = around.reduce((best, corner, place) => (corner[0] + corner[1] < around[best][0] + around[best][1] ? place : best), 0);
    return [...around.slice(first), ...around.slice(0, first)];
}

// A mask (white or opaque is marked) as a picture of one colour that is as clear as the mask is dark.
function tinted(mask) {
    const canvas = element("canvas", { width: mask.naturalWidth, height: mask.naturalHeight });
    const context = canvas.getContext("2d");
    context.drawImage(mask, 0, 0);
    const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
    const colour = [1, 3, 5].map((place) => Number.parseInt(COLOURS.keep.slice(place, place + 2), 16));
    for (let place = 0; place < pixels.data.length; place += 4) {
        pixels.data[place + 3] = (pixels.data[place] * pixels.data[place + 3]) / 255;
        colour.forEach((value, channel) => { pixels.data[place + channel] = value; });
    }
    context.putImageData(pixels, 0, 0);
    return canvas;
}

class Editor {
    constructor(root, image, fields, given) {
        this.root = root;
        this.image = image;
        this.given = given;
        this.words = root.dataset;
        this.marks = new Marks(fields);
        this.cursor = [0.5, 0.5];
        this.radius = 0.03;
        this.drawing = null;
        this.keys = false;
        this.tools = this.toolsFor(fields);
        this.tool = this.tools[0].name;
        this.build();
        this.show();
    }

    toolsFor(fields) {
        const tools = [];
        if (fields.strokes) {
            tools.push({ name: "keep", kind: "strokes", label: fields.strokes.dataset.sgKeep });
            tools.push({ name: "drop", kind: "strokes", label: fields.strokes.dataset.sgDrop });
        }
        if (fields.box) { tools.push({ name: "box", kind: "box", label: this.words.sgBox }); }
        if (fields.corners) { tools.push({ name: "corners", kind: "corners", label: this.words.sgCorners }); }
        return tools;
    }

    kind() { return this.tools.find((tool) => tool.name === this.tool).kind; }

    build() {
        this.canvas = element("canvas", { tabIndex: 0, className: "sg-marks-canvas" });
        this.canvas.setAttribute("role", "application");
        this.canvas.setAttribute("aria-label", this.words.sgLabel);
        const help = element("p", { className: "help", id: "sg-marks-help", textContent: this.words.sgHelp });
        this.canvas.setAttribute("aria-describedby", help.id);
        this.status = element("p", { className: "sg-quiet sg-marks-status" });
        this.status.setAttribute("role", "status");
        this.stage = element("div", { className: "sg-marks-stage" }, this.canvas);
        this.mask = document.createElement("canvas");
        this.root.append(this.bar(), this.stage, this.status, help);
        this.root.hidden = false;
        const listen = (name, act) => this.canvas.addEventListener(name, act.bind(this));
        listen("pointerdown", this.down);
        listen("pointermove", this.move);
        listen("pointerup", this.up);
        listen("pointercancel", this.cancel);
        listen("keydown", this.key);
        listen("focus", () => { this.keys = true; this.show(); });
        listen("blur", () => { this.keys = false; this.finish(); this.show(); });
        new ResizeObserver(() => this.fit()).observe(this.stage);
        this.fit();
    }

    bar() {
        const tools = element("fieldset", { className: "sg-marks-tools" }, element("legend", { textContent: this.words.sgTool }));
        for (const tool of this.tools) {
            const radio = element("input", { type: "radio", name: "sg-tool", value: tool.name });
            radio.setAttribute("form", "");  // it belongs to no form: what is chosen here is not sent
            radio.checked = tool.name === this.tool;
            radio.addEventListener("change", () => this.take(tool.name));
            const swatch = element("span", { className: `sg-marks-swatch sg-marks-${tool.name}` });
            swatch.setAttribute("aria-hidden", "true");
            tool.radio = radio;
            tools.append(element("label", {}, radio, swatch, tool.label));
        }
        const bar = element("div", { className: "sg-actions sg-marks-bar" }, tools);
        if (this.marks.fields.strokes) {
            this.size = element("input", { type: "range", min: "0.5", max: "15", step: "0.5", value: String(100 * this.radius) });
            this.size.addEventListener("input", () => { this.radius = this.size.value / 100; this.show(); });
            bar.append(element("label", {}, `${this.words.sgSize} `, this.size));
        }
        const zoom = element("input", { type: "range", min: "100", max: "400", step: "25", value: "100" });
        zoom.addEventListener("input", () => { this.zoom = zoom.value / 100; this.fit(); });
        bar.append(element("label", {}, `${this.words.sgZoom} `, zoom));
        const button = (label, act) => {
            const made = element("button", { type: "button", className: "button", textContent: label });
            made.addEventListener("click", act);
            bar.append(made);
            return made;
        };
        this.undoButton = button(this.words.sgUndo, () => this.undo());
        this.redoButton = button(this.words.sgRedo, () => this.redo());
        this.clearButton = button(this.words.sgClear, () => {
            for (const kind of Object.keys(this.marks.fields)) {
                if (this.marks.now[kind]) { this.marks.change(kind, null); }
            }
            this.say(this.words.sgCleared);
        });
        return bar;
    }

    take(name) {
        this.finish();
        this.tool = name;
        const tool = this.tools.find((one) => one.name === name);
        tool.radio.checked = true;
        this.say(tool.label);
    }

    // -- size and drawing ---------------------------------------------------------------------------

    fit() {
        const { naturalWidth, naturalHeight } = this.image;
        const room = Math.max(160, this.root.clientWidth - 2);
        const scale = Math.min(room / naturalWidth, Math.max(240, 0.6 * window.innerHeight) / naturalHeight, 2) * (this.zoom || 1);
        const [width, height] = [Math.round(naturalWidth * scale), Math.round(naturalHeight * scale)];
        const ratio = Math.min(2, window.devicePixelRatio || 1);
        if (this.canvas.width === Math.round(width * ratio) && this.canvas.height === Math.round(height * ratio)) { return; }
        Object.assign(this.canvas, { width: Math.round(width * ratio), height: Math.round(height * ratio) });
        Object.assign(this.canvas.style, { width: `${width}px`, height: `${height}px` });
        Object.assign(this.mask, { width: this.canvas.width, height: this.canvas.height });
        this.show();
    }

    strokes() {
        const made = this.marks.now.strokes || [];
        return this.drawing && this.drawing.points ? [...made, this.drawing] : made;
    }

    show() {
        const context = this.canvas.getContext("2d");
        const { width, height } = this.canvas;
        context.clearRect(0, 0, width, height);
        context.drawImage(this.image, 0, 0, width, height);
        this.paintStrokes(context, width, height);
        this.paintBox(context, width, height);
        this.paintCorners(context, width, height);
        if (this.keys || this.drawing) { this.paintCursor(context, width, height); }
        this.undoButton.disabled = !this.marks.past.length;
        this.redoButton.disabled = !this.marks.future.length;
        this.clearButton.disabled = !Object.values(this.marks.now).some((value) => value && value.length);
    }

    // The mask is the job's second picture only where both are one job.
    counts() {
        const together = this.root.closest("form").querySelector("[name=together]");
        return !together || together.checked;
    }

    paintStrokes(context, width, height) {
        const mask = this.mask.getContext("2d");
        mask.clearRect(0, 0, width, height);
        if (this.given && this.counts()) { mask.drawImage(this.given, 0, 0, width, height); }
        for (const stroke of this.strokes()) {
            const [across, down] = [Math.max(1, stroke.radius * width), Math.max(1, stroke.radius * height)];
            mask.strokeStyle = mask.fillStyle = stroke.keep ? COLOURS.keep : COLOURS.drop;
            Object.assign(mask, { lineWidth: across + down, lineJoin: "round", lineCap: "round" });
            const points = stroke.points.map(([x, y]) => [x * width, y * height]);
            mask.beginPath();
            if (points.length > 1) {
                points.forEach(([x, y], place) => (place ? mask.lineTo(x, y) : mask.moveTo(x, y)));
                mask.stroke();
            } else {
                mask.ellipse(points[0][0], points[0][1], across, down, 0, 0, 2 * Math.PI);
                mask.fill();
            }
        }
        context.globalAlpha = 0.5;
        context.drawImage(this.mask, 0, 0);
        context.globalAlpha = 1;
    }

    paintBox(context, width, height) {
        const box = this.drawing && this.drawing.box ? this.drawing.box : this.marks.now.box;
        if (!box) { return; }
        const [left, top, right, bottom] = box.map((share, place) => share * (place % 2 ? height : width));
        context.fillStyle = "rgba(0, 0, 0, 0.5)";
        context.beginPath();
        context.rect(0, 0, width, height);
        context.rect(left, top, right - left, bottom - top);
        context.fill("evenodd");
        this.line(context, () => context.strokeRect(left, top, right - left, bottom - top));
    }

    paintCorners(context, width, height) {
        const corners = this.corners || this.marks.now.corners;
        if (!corners || !corners.length) { return; }
        this.line(context, () => {
            context.beginPath();
            corners.forEach(([x, y], place) => (place ? context.lineTo(x * width, y * height) : context.moveTo(x * width, y * height)));
            if (corners.length === 4) { context.closePath(); }
            context.stroke();
            for (const [x, y] of corners) { context.strokeRect(x * width - 6, y * height - 6, 12, 12); }
        });
    }

    paintCursor(context, width, height) {
        const [x, y] = [this.cursor[0] * width, this.cursor[1] * height];
        this.line(context, () => {
            context.beginPath();
            if (this.kind() === "strokes") {
                context.ellipse(x, y, Math.max(2, this.radius * width), Math.max(2, this.radius * height), 0, 0, 2 * Math.PI);
            }
            context.moveTo(x - 6, y);
            context.lineTo(x + 6, y);
            context.moveTo(x, y - 6);
            context.lineTo(x, y + 6);
            context.stroke();
        });
    }

    // Seen on light and on dark.
    line(context, draw) {
        for (const [colour, wide] of [["#000", 4], ["#fff", 2]]) {
            Object.assign(context, { strokeStyle: colour, lineWidth: wide });
            draw();
        }
    }

    // -- making marks: begin, go on, finish -----------------------------------------------------------

    begin() {
        const kind = this.kind();
        if (kind === "strokes") {
            if ((this.marks.now.strokes || []).length >= MOST_STROKES) { this.say(this.words.sgFull); return; }
            this.drawing = { keep: this.tool === "keep", radius: round(this.radius), points: [this.cursor.map(round)] };
        } else if (kind === "box") {
            this.drawing = { from: this.cursor, box: null };
        } else {
            this.corner();
        }
        this.show();
    }

    follow() {
        const made = this.drawing;
        if (made && made.points) {
            const [x, y] = made.points[made.points.length - 1];
            if (Math.hypot(this.cursor[0] - x, this.cursor[1] - y) >= LEAST_MOVE) { made.points.push(this.cursor.map(round)); }
        } else if (made && made.from) {
            const [one, other] = [made.from, this.cursor];
            const box = [0, 1].map((axis) => Math.min(one[axis], other[axis])).concat([0, 1].map((axis) => Math.max(one[axis], other[axis])));
            made.box = box[2] - box[0] > 0.01 && box[3] - box[1] > 0.01 ? box.map(round) : null;
        }
        this.show();
    }

    finish() {
        const made = this.drawing;
        this.drawing = null;
        if (!made) { return; }
        if (made.points) {
            const strokes = [...(this.marks.now.strokes || []), made];
            this.marks.change("strokes", strokes);
            this.say(`${this.tools.find((tool) => tool.name === (made.keep ? "keep" : "drop")).label} (${strokes.length})`);
        } else if (made.box) {
            this.marks.change("box", made.box);
            this.say(`${this.words.sgBox}: ${made.box.map((share) => `${Math.round(100 * share)} %`).join(", ")}`);
        }
        this.show();
    }

    cancel() {
        this.drawing = null;
        this.show();
    }

    corner() {
        const point = this.cursor.map(round);
        let corners = [...(this.corners || this.marks.now.corners || [])];
        if (corners.length === 4) {
            const far = corners.map((corner) => Math.hypot(corner[0] - point[0], corner[1] - point[1]));
            corners[far.indexOf(Math.min(...far))] = point;
        } else {
            corners.push(point);
        }
        this.corners = corners.length < 4 ? corners : null;
        if (corners.length === 4) {
            corners = ordered(corners);
            this.marks.change("corners", corners);
        }
        this.say(`${this.words.sgCorners}: ${corners.length} / 4`);
    }

    undo() {
        this.drawing = null;
        if (this.corners) { this.corners = null; this.say(this.words.sgUndone); return; }
        if (this.marks.undo()) { this.say(this.words.sgUndone); }
    }

    redo() {
        this.drawing = null;
        if (this.marks.redo()) { this.say(this.words.sgRedone); }
    }

    say(text) {
        this.status.textContent = text;
        this.show();
    }

    // -- mouse and finger -----------------------------------------------------------------------------

    place(event) {
        const edges = this.canvas.getBoundingClientRect();
        this.cursor = [clamp((event.clientX - edges.left) / edges.width), clamp((event.clientY - edges.top) / edges.height)];
    }

    down(event) {
        if (event.button) { return; }
        event.preventDefault();
        this.canvas.focus({ preventScroll: true });
        this.canvas.setPointerCapture(event.pointerId);
        this.place(event);
        this.begin();
    }

    move(event) {
        const events = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
        for (const one of events.length ? events : [event]) {
            this.place(one);
            this.follow();
        }
    }

    up(event) {
        this.place(event);
        this.follow();
        this.finish();
    }

    // -- keys -----------------------------------------------------------------------------------------

    key(event) {
        const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
        if (event.key in moves) {
            const far = event.shiftKey ? 0.05 : 0.01;
            this.cursor = this.cursor.map((share, axis) => clamp(share + far * moves[event.key][axis]));
            this.status.textContent = this.cursor.map((share) => `${Math.round(100 * share)} %`).join(", ");
            this.follow();
        } else if (event.key === " " || event.key === "Enter") {
            if (this.drawing) { this.finish(); } else { this.begin(); }
        } else if (event.key === "Escape") {
            if (!this.drawing) { return; }
            this.cancel();
        } else if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z") {
            if (event.shiftKey) { this.redo(); } else { this.undo(); }
        } else if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "y") {
            this.redo();
        } else if ((event.key === "+" || event.key === "-") && this.size) {
            this.size.value = String(Number(this.size.value) + (event.key === "+" ? 0.5 : -0.5));
            this.radius = this.size.value / 100;
            this.show();
        } else if (/^[1-9]$/.test(event.key) && this.tools[event.key - 1]) {
            this.take(this.tools[event.key - 1].name);
        } else {
            return;
        }
        event.preventDefault();
    }
}

async function start(root) {
    const fields = {};
    for (const field of root.closest("form").querySelectorAll("[data-sg-marks]")) { fields[field.dataset.sgMarks] = field; }
    if (!Object.keys(fields).length) { return; }
    const image = new Image();
    image.src = root.dataset.sgPicture;
    await image.decode();
    for (const field of Object.values(fields)) {
        // The numbers stay at hand, folded away.
        const row = field.closest(".form-row");
        const name = row.querySelector("label");
        const words = `${name ? name.textContent : ""} – ${root.dataset.sgNumbers}`;
        const inside = element("details", { className: "sg-marks-numbers" }, element("summary", { textContent: words }));
        inside.open = Boolean(row.querySelector(".errorlist"));
        inside.append(...row.childNodes);
        row.append(inside);
    }
    let given = null;
    if (root.dataset.sgMask) {
        const mask = new Image();
        mask.src = root.dataset.sgMask;
        await mask.decode();
        given = tinted(mask);
    }
    const editor = new Editor(root, image, fields, given);
    const together = root.closest("form").querySelector("[name=together]");
    if (given && together) { together.addEventListener("change", () => editor.show()); }
    for (const field of Object.values(fields)) {
        field.addEventListener("input", () => {
            editor.marks.now = { ...editor.marks.now, [field.dataset.sgMarks]: read(field) };
            editor.show();
        });
    }
}

document.querySelectorAll("[data-sg-marks-editor]").forEach(start);
