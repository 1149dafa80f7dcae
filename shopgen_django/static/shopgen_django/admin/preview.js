// A preview of what the form's settings would do, made by a worker on a small copy and shown beside the picture.
const PAUSE = 700;

const sleep = (time) => new Promise((done) => { window.setTimeout(done, time); });

function text(name, className, content) {
    return Object.assign(document.createElement(name), { className, textContent: content });
}

class Preview {
    constructor(root) {
        this.root = root;
        this.form = root.closest("form");
        this.place = root.querySelector("[data-sg-preview-place]");
        this.button = root.querySelector("button");
        this.turn = 0;
        this.button.addEventListener("click", () => this.ask());
        root.hidden = false;
    }

    say(...parts) {
        const status = this.root.querySelector("[role=status]");
        status.replaceChildren(...parts);
    }

    async ask() {
        // A newer wish drops what an older one brings.
        this.turn += 1;
        const turn = this.turn;
        this.say(this.root.dataset.sgWaiting);
        try {
            const answer = await fetch(this.root.dataset.sgPreview, {
                method: "POST", body: new FormData(this.form), credentials: "same-origin", headers: { Accept: "application/json" },
            });
            const told = await answer.json();
            if (turn !== this.turn) { return; }
            if (told.problems) {
                this.say(...told.problems.map((problem) => text("p", "sg-problem", problem)));
                return;
            }
            await this.follow(told.url, turn);
        } catch {
            if (turn === this.turn) { this.say(text("p", "sg-problem", this.root.dataset.sgFailed)); }
        }
    }

    async follow(url, turn) {
        for (;;) {
            await sleep(PAUSE);
            if (turn !== this.turn) { return; }
            const answer = await fetch(url, { credentials: "same-origin", headers: { Accept: "application/json" } });
            if (!answer.ok) { throw new Error(String(answer.status)); }
            const told = await answer.json();
            if (turn !== this.turn) { return; }
            if (told.active) {
                this.say(told.note, ...(told.warnings || []).map((warning) => text("p", "sg-warning", warning)));
            } else if (told.picture) {
                await this.show(told);
                return;
            } else {
                this.say(text("p", "sg-problem", told.note || this.root.dataset.sgFailed));
                return;
            }
        }
    }

    async show(told) {
        const figures = [[this.root.dataset.sgPicture, this.root.dataset.sgBefore], [told.picture, this.root.dataset.sgAfter]];
        const made = await Promise.all(figures.map(async ([source, words]) => {
            const image = new Image();
            image.src = source;
            image.alt = words;
            await image.decode();
            const figure = document.createElement("figure");
            figure.append(image, text("figcaption", "sg-quiet", words));
            return figure;
        }));
        this.place.replaceChildren(...made);
        this.place.hidden = false;
        if (told.held_back) {
            this.say(text("p", "sg-warning", `${this.root.dataset.sgHeld} ${told.held_back}`));
        } else {
            this.say(this.root.dataset.sgDone);
        }
    }
}

document.querySelectorAll("[data-sg-preview]").forEach((root) => new Preview(root));
