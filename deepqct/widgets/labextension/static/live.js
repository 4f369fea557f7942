// Two widgets of deepqct's own: a picture of a scan that is zoomed, moved and measured, and a figure that is pointed at.
(function () {
  const VERSION = "0.1.0";
  const ON_PAGE = document.currentScript.src.includes("/voila/"); // a page of deepqct app, which has no keys of its own
  const WAIT_MS = 60; // between two messages of a moving mouse: more would queue up behind the pictures
  const ANSWER_MS = 700; // a held arrow key waits so long for its picture before it asks for the next one
  const DRAGGED = 4; // a mouse that was moved so many pixels while pressed drags; below that it is a click
  const NEAR = 15; // the mouse at most so many pixels from a point means that point
  const BARS_MM = [10, 5, 2, 1, 0.5, 0.2, 0.1];
  const TYPED = "input:not([type=checkbox]):not([type=radio]):not([type=button]), textarea, select, [contenteditable=true], .cm-editor";

  function bitmapOf(bytes, kind) {
    return bytes && bytes.byteLength ? createImageBitmap(new Blob([bytes], { type: `image/${kind}` })) : Promise.resolve(null);
  }

  function modelOf(base, name, view, more) {
    return class extends base.DOMWidgetModel {
      defaults() {
        const module = { _model_module: "deepqct", _view_module: "deepqct" };
        const versions = { _model_module_version: VERSION, _view_module_version: VERSION };
        return Object.assign(super.defaults(), module, versions, { _model_name: name, _view_name: view }, more);
      }
    };
  }

  function pictureView(base) {
    return class extends base.DOMWidgetView {
      render() {
        this.el.style.overflow = "hidden";
        this.el.style.position = "relative";
        this.canvas = document.createElement("canvas");
        this.canvas.className = "dq-picture";
        this.canvas.style.cssText = "display:block;width:100%;height:100%;background:#000;cursor:crosshair;touch-action:none";
        this.canvas.setAttribute("role", "img");
        this.el.appendChild(this.canvas);
        this.scale = 1; // device pixels for a pixel of the scan
        this.corner = [0, 0]; // of the picture, in device pixels of the canvas
        this.serial = null;
        const own = [["change:value change:serial", this.soon], ["change:alt", this.named], ["change:zoom_to", this.fit]];
        for (const [event, act] of own) {
          this.listenTo(this.model, event, act.bind(this));
        }
        this.listenTo(this.model, "change:cross change:ruler change:measuring", () => this.draw());
        const listen = (name, act, target = this.canvas, how = {}) => {
          const bound = act.bind(this);
          target.addEventListener(name, bound, how);
          (this.heard = this.heard || []).push(() => target.removeEventListener(name, bound, how));
        };
        listen("wheel", this.wheel, this.canvas, { passive: false });
        listen("pointerdown", this.pressed);
        listen("pointermove", this.moved);
        listen("pointerup", this.released);
        listen("dblclick", () => this.fit());
        listen("contextmenu", (event) => event.preventDefault());
        listen("keydown", this.key, window, true); // before JupyterLab, whose keys would insert cells
        listen("pointerdown", this.touched, window, true);
        this.sizes = new ResizeObserver(() => this.resized());
        this.sizes.observe(this.el);
        this.named();
        this.load();
        setTimeout(() => { // initials that were just typed: the next key is for the picture
          const focused = document.activeElement;
          const output = this.el.closest(".jp-OutputArea-output");
          if (this.model.get("heard_keys").length && output && focused.matches("input[type=text]") && output.contains(focused)) {
            focused.blur();
          }
        }, 100);
      }

      remove() {
        this.sizes.disconnect();
        (this.heard || []).forEach((stop) => stop());
        super.remove();
      }

      named() {
        this.canvas.setAttribute("aria-label", this.model.get("alt"));
      }

      soon() { // a new scan changes both at once, and is loaded once
        if (!this.loading) {
          this.loading = true;
          queueMicrotask(() => { this.loading = false; this.load(); });
        }
      }

      async load() {
        const serial = this.model.get("serial");
        const wanted = (this.wanted = (this.wanted || 0) + 1);
        const bitmap = await bitmapOf(this.model.get("value"), this.model.get("format"));
        if (wanted !== this.wanted) {
          return; // a newer picture is on its way
        }
        const other = serial !== this.serial || !this.bitmap || !bitmap ||
          this.bitmap.width !== bitmap.width || this.bitmap.height !== bitmap.height;
        this.bitmap = bitmap;
        this.serial = serial;
        this.asked = 0;
        if (other) {
          this.fit();
        } else {
          this.draw();
        }
        // Only what is on the screen can be judged: tell it after the picture was painted.
        requestAnimationFrame(() => setTimeout(() => {
          if (this.serial === serial && this.model.get("shown") !== serial) {
            this.model.set("shown", serial);
            this.touch();
          }
        }));
      }

      ratio() { // device pixels of a pixel of the scan downwards, for each one across
        const [down, across] = this.model.get("pixel_mm");
        return down / across;
      }

      resized() {
        const box = this.el.getBoundingClientRect();
        const dots = window.devicePixelRatio || 1;
        const [width, height] = [Math.max(1, Math.round(box.width * dots)), Math.max(1, Math.round(box.height * dots))];
        if (box.width && (width !== this.canvas.width || height !== this.canvas.height)) {
          this.canvas.width = width;
          this.canvas.height = height;
          this.fit();
        }
      }

      fit() {
        if (!this.bitmap) {
          this.draw();
          return;
        }
        const { width, height } = this.canvas;
        const tall = this.bitmap.height * this.ratio();
        const whole = Math.min(width / this.bitmap.width, height / tall);
        const native = this.model.get("zoom_to") === "pixels";
        this.scale = native ? Math.max(1, Math.floor(whole)) : whole;
        this.corner = [(width - this.scale * this.bitmap.width) / 2, (height - this.scale * tall) / 2];
        const centre = this.model.get("centre");
        if (native && whole < 1 && centre) { // larger than the window: show where the bones are
          const half = [width / 2, height / 2];
          this.corner = [half[0] - this.scale * centre[0], half[1] - this.scale * this.ratio() * centre[1]];
        }
        this.keepInside();
        this.draw();
      }

      keepInside() {
        const sizes = [this.scale * this.bitmap.width, this.scale * this.ratio() * this.bitmap.height];
        const windows = [this.canvas.width, this.canvas.height];
        this.corner = this.corner.map((corner, i) => Math.round(sizes[i] <= windows[i] && this.scale <= 1
          ? (windows[i] - sizes[i]) / 2 : Math.min(windows[i] * 0.8, Math.max(windows[i] * 0.2 - sizes[i], corner))));
      }

      draw() {
        const pen = this.canvas.getContext("2d");
        const dots = window.devicePixelRatio || 1;
        pen.setTransform(1, 0, 0, 1, 0, 0);
        pen.fillStyle = "#000";
        pen.fillRect(0, 0, this.canvas.width, this.canvas.height);
        if (!this.bitmap) {
          return;
        }
        const [x, y] = this.corner;
        const tall = this.scale * this.ratio();
        pen.imageSmoothingEnabled = this.scale < 1 || !Number.isInteger(this.scale);
        pen.drawImage(this.bitmap, x, y, this.scale * this.bitmap.width, tall * this.bitmap.height);
        const cross = this.model.get("cross");
        pen.lineWidth = dots;
        if (cross) {
          pen.strokeStyle = "#cc79a7";
          const [column, row] = [x + (cross[0] + 0.5) * this.scale, y + (cross[1] + 0.5) * tall].map((v) => Math.round(v) + 0.5);
          pen.beginPath();
          pen.moveTo(column, 0); pen.lineTo(column, this.canvas.height);
          pen.moveTo(0, row); pen.lineTo(this.canvas.width, row);
          pen.stroke();
        }
        this.drawBar(pen, dots);
        this.drawRuler(pen, dots);
        this.el.dataset.scale = String(this.scale); // for whoever looks at the page
      }

      write(pen, text, x, y, dots) {
        pen.font = `${12 * dots}px system-ui, sans-serif`;
        pen.lineWidth = 3 * dots;
        pen.strokeStyle = "#000";
        pen.strokeText(text, x, y);
        pen.fillStyle = "#fff";
        pen.fillText(text, x, y);
      }

      drawBar(pen, dots) {
        const across = this.scale / this.model.get("pixel_mm")[1]; // device pixels for a mm
        const mm = BARS_MM.find((length) => length * across < this.canvas.width * 0.4);
        if (!mm) {
          return;
        }
        const bottom = this.canvas.height - 8 * dots;
        const low = this.canvas.height < 34 * dots; // a thin plane has its words beside the bar
        pen.fillStyle = "#fff";
        pen.fillRect(8 * dots, bottom, mm * across, 3 * dots);
        this.write(pen, `${mm} mm`, low ? 12 * dots + mm * across : 8 * dots, low ? bottom + 4 * dots : bottom - 5 * dots, dots);
        if (this.canvas.height > 120 * dots) {
          const times = this.scale === 1 ? "1:1" : `×${Number(this.scale.toFixed(2))}`;
          this.write(pen, times, this.canvas.width - 48 * dots, this.canvas.height - 9 * dots, dots);
        }
      }

      drawRuler(pen, dots) {
        const ruler = this.model.get("ruler");
        if (!ruler || ruler.length !== 4) {
          return;
        }
        const [down, across] = this.model.get("pixel_mm");
        const at = (column, row) => [this.corner[0] + column * this.scale, this.corner[1] + row * this.scale * this.ratio()];
        const [from, to] = [at(ruler[0], ruler[1]), at(ruler[2], ruler[3])];
        for (const [colour, width] of [["#000", 4], ["#f0e442", 2]]) {
          pen.strokeStyle = colour;
          pen.lineWidth = width * dots;
          pen.beginPath();
          pen.moveTo(...from); pen.lineTo(...to);
          pen.stroke();
        }
        const mm = Math.hypot((ruler[2] - ruler[0]) * across, (ruler[3] - ruler[1]) * down);
        this.write(pen, `${mm.toFixed(2)} mm`, to[0] + 8 * dots, to[1] - 6 * dots, dots);
      }

      point(event) { // in pixels of the scan, across and down
        const box = this.canvas.getBoundingClientRect();
        const dots = this.canvas.width / box.width;
        const [x, y] = [(event.clientX - box.left) * dots, (event.clientY - box.top) * dots];
        return { device: [x, y], scan: [(x - this.corner[0]) / this.scale, (y - this.corner[1]) / (this.scale * this.ratio())] };
      }

      wheel(event) {
        event.preventDefault();
        if (!this.bitmap) {
          return;
        }
        if (event.shiftKey) {
          this.step((event.deltaY || event.deltaX) > 0 ? 1 : -1);
          return;
        }
        const { device, scan } = this.point(event);
        const larger = event.deltaY < 0;
        // Whole multiples of the scan's pixels above 1, so that no pixel is wider than its neighbour.
        const next = larger ? (this.scale >= 1 ? Math.floor(this.scale) + 1 : Math.min(1, this.scale * 1.3))
          : (this.scale > 1 ? Math.ceil(this.scale) - 1 : this.scale / 1.3);
        this.scale = Math.min(32, Math.max(0.05, next));
        this.corner = [device[0] - scan[0] * this.scale, device[1] - scan[1] * this.scale * this.ratio()];
        this.keepInside();
        this.draw();
      }

      step(by) { // to the next slice; a held key waits for the picture that it asked for
        const now = performance.now();
        if (this.asked && now - this.asked < ANSWER_MS) {
          return;
        }
        this.asked = now;
        this.send({ type: "step", by });
      }

      pressed(event) {
        if (event.button !== 0) {
          return;
        }
        this.canvas.setPointerCapture(event.pointerId);
        clearTimeout(this.waiting); // told later, the place before would stand over what a drag measures
        this.waiting = null;
        const { device, scan } = this.point(event);
        this.from = { device, scan, corner: this.corner, dragged: false };
      }

      moved(event) {
        const { device, scan } = this.point(event);
        if (this.from) {
          const by = device.map((v, i) => v - this.from.device[i]);
          this.from.dragged = this.from.dragged || Math.hypot(...by) > DRAGGED;
          if (this.from.dragged && this.model.get("measuring")) {
            this.model.set("ruler", [...this.from.scan, ...scan]);
          } else if (this.from.dragged && this.bitmap) {
            this.corner = this.from.corner.map((v, i) => v + by[i]);
            this.keepInside();
            this.draw();
          }
          return;
        }
        this.over = scan;
        if (!this.waiting) {
          this.waiting = setTimeout(() => {
            this.waiting = null;
            this.send({ type: "over", at: this.over });
          }, WAIT_MS);
        }
      }

      released(event) {
        const from = this.from;
        this.from = null;
        if (from && !from.dragged) {
          this.send({ type: "click", at: this.point(event).scan });
        } else if (from && this.model.get("measuring")) {
          this.touch();
        }
      }

      touched(event) { // JupyterLab has keys of its own: ours count after a click into this output
        const output = this.el.closest(".jp-OutputArea-output");
        this.active = Boolean(output && output.contains(event.target));
      }

      key(event) {
        const elsewhere = (!ON_PAGE && !this.active) || !this.el.isConnected || this.el.offsetParent === null;
        const typed = event.target instanceof Element && event.target.closest(TYPED);
        if (!elsewhere && typed && event.key === "Enter" && event.target.matches("input") && this.model.get("heard_keys").length) {
          setTimeout(() => event.target.blur()); // what was typed is done; the next key is for the picture
        }
        if (elsewhere || typed || event.ctrlKey || event.altKey || event.metaKey) {
          return;
        }
        const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
        const turning = { ArrowUp: -1, ArrowDown: 1, PageUp: -1, PageDown: 1 }[key];
        const handle = event.target instanceof Element && event.target.closest("[role=slider], .ui-slider-handle, [role=tab]");
        const wanted = turning ? this.model.get("heard_keys").length && !handle : this.model.get("heard_keys").includes(key);
        if (!wanted) {
          return;
        }
        event.preventDefault();
        event.stopImmediatePropagation();
        if (turning) {
          this.step(turning);
        } else if (!event.repeat) {
          this.send({ type: "key", key, serial: this.model.get("shown") });
        }
      }
    };
  }

  function figureView(base) {
    return class extends base.DOMWidgetView {
      render() {
        this.el.style.cssText += ";position:relative;overflow:hidden";
        this.image = document.createElement("img");
        this.image.className = "dq-figure";
        this.image.draggable = false;
        this.image.style.cssText = "display:block;max-width:100%;height:auto;user-select:none";
        this.box = document.createElement("div");
        this.box.style.cssText = "position:absolute;display:none;border:1px solid #333;background:rgba(0,0,0,.06);pointer-events:none";
        this.name = document.createElement("div");
        this.name.className = "dq-name";
        this.name.style.cssText = "position:absolute;display:none;padding:1px 5px;font:12px system-ui,sans-serif;" +
          "background:#1b1f24;color:#fff;pointer-events:none;white-space:nowrap;z-index:2";
        this.el.append(this.image, this.box, this.name);
        this.listenTo(this.model, "change:value", this.load.bind(this));
        this.listenTo(this.model, "change:alt", this.named.bind(this));
        this.image.addEventListener("pointerdown", this.pressed.bind(this));
        this.image.addEventListener("pointermove", this.moved.bind(this));
        this.image.addEventListener("pointerup", this.released.bind(this));
        this.image.addEventListener("pointerleave", () => { this.name.style.display = "none"; });
        this.named();
        this.load();
      }

      remove() {
        URL.revokeObjectURL(this.image.src);
        super.remove();
      }

      named() {
        this.image.alt = this.model.get("alt");
      }

      async load() { // the old figure stays until the new one is decoded: a mouse between them would have no place
        const bytes = this.model.get("value");
        const full = bytes && bytes.byteLength;
        const wanted = (this.wanted = (this.wanted || 0) + 1);
        const next = full ? URL.createObjectURL(new Blob([bytes], { type: `image/${this.model.get("format")}` })) : "";
        if (full) {
          const drawn = new Image();
          drawn.src = next;
          await drawn.decode().catch(() => {}); // a broken one is shown as such
        }
        if (wanted !== this.wanted) {
          URL.revokeObjectURL(next);
          return; // a newer figure is on its way
        }
        const before = this.image.src;
        this.image.style.visibility = full ? "visible" : "hidden";
        if (full) {
          this.image.src = next;
        }
        URL.revokeObjectURL(before);
      }

      point(event) { // in the figure's own pixels
        const box = this.image.getBoundingClientRect();
        this.wide = this.image.naturalWidth || this.wide; // none for a moment while a figure is replaced
        const larger = this.wide / box.width;
        return [(event.clientX - box.left) * larger, (event.clientY - box.top) * larger, larger];
      }

      nearest([x, y]) {
        const far = this.model.get("points").map(([a, b], i) => [Math.hypot(a - x, b - y), i]);
        const near = far.filter(([distance]) => distance < NEAR).sort((a, b) => a[0] - b[0]);
        return near.length ? near[0][1] : -1;
      }

      pressed(event) {
        if (event.button === 0 && this.model.get("points").length) {
          this.image.setPointerCapture(event.pointerId);
          this.from = this.point(event);
        }
      }

      moved(event) {
        const [x, y, larger] = this.point(event);
        if (this.from) {
          const [left, top] = [Math.min(x, this.from[0]), Math.min(y, this.from[1])];
          const [width, height] = [Math.abs(x - this.from[0]), Math.abs(y - this.from[1])];
          Object.assign(this.box.style, {
            display: Math.max(width, height) > DRAGGED ? "block" : "none",
            left: `${left / larger}px`, top: `${top / larger}px`, width: `${width / larger}px`, height: `${height / larger}px`,
          });
        }
        const found = this.nearest([x, y]);
        this.image.style.cursor = found < 0 ? "" : "pointer";
        this.name.style.display = found < 0 || this.from ? "none" : "block";
        if (found >= 0) {
          this.name.textContent = this.model.get("names")[found];
          const right = x / larger > this.image.clientWidth * 0.75;
          Object.assign(this.name.style, {
            left: right ? "" : `${x / larger + 12}px`, right: right ? `${this.el.clientWidth - x / larger + 8}px` : "",
            top: `${y / larger + 10}px`,
          });
        }
      }

      released(event) {
        const from = this.from;
        this.from = null;
        this.box.style.display = "none";
        if (!from) {
          return;
        }
        const to = this.point(event);
        if (Math.max(Math.abs(to[0] - from[0]), Math.abs(to[1] - from[1])) <= DRAGGED) {
          const found = this.nearest(to);
          if (found >= 0) {
            this.send({ type: "pick", at: to.slice(0, 2), which: found });
          }
        } else {
          this.send({ type: "box", from: from.slice(0, 2), to: to.slice(0, 2) });
        }
      }
    };
  }

  // In JupyterLab arrow keys go from cell to cell, also from a list or a slider that wants them itself.
  window.addEventListener("keydown", (event) => {
    const own = event.target instanceof Element && event.target.closest("select, .ui-slider-handle");
    if (own && own.closest(".jp-OutputArea-output")) {
      own.toggleAttribute("data-lm-suppress-shortcuts", /^(Arrow|Page|Home|End)/.test(event.key));
    }
  }, true);

  window.deepqctLive = {
    version: VERSION,
    exports: (base) => ({
      PictureModel: modelOf(base, "PictureModel", "PictureView", {
        value: null, format: "jpeg", alt: "", serial: 0, shown: -1, pixel_mm: [1, 1], zoom_to: "pixels", centre: null,
        cross: null, ruler: [], measuring: false, heard_keys: [],
      }),
      PictureView: pictureView(base),
      FigureModel: modelOf(base, "FigureModel", "FigureView", { value: null, format: "png", alt: "", points: [], names: [] }),
      FigureView: figureView(base),
    }),
  };
})();
