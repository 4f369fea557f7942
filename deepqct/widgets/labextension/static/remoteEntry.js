// deepqct's own pictures (live.js), and itkwidgets 0.32.6, in JupyterLab 4 and Voila. The wheel of itkwidgets has the
// whole viewer, but only as a bundle for the classic notebook. This prebuilt extension registers that bundle, served
// from the installed itkwidgets, as a widget module.
(function () {
  const NAME = "deepqct-itkwidgets";
  const VERSION = "0.32.6";
  const LIVE = "0.1.0"; // of the widgets in live.js
  const BASE = "@jupyter-widgets/base";
  const own = new URL(".", document.currentScript.src).href;
  let scope;

  // The widgets of ipywidgets 7 ask for the queue of MathJax 2 as soon as there is any MathJax; today's has none.
  const withQueue = (given) => (given && !given.Hub ? Object.assign(given, { Hub: { Queue() {} } }) : given);
  let mathJax = withQueue(window.MathJax);
  Object.defineProperty(window, "MathJax", {
    configurable: true,
    get: () => mathJax,
    set: (value) => { mathJax = withQueue(value); },
  });

  // The server extension of deepqct (JupyterLab), or a folder beside this extension's (Voila).
  function places() {
    const config = document.getElementById("jupyter-config-data");
    const root = config ? JSON.parse(config.textContent).baseUrl : "/";
    return [root + "deepqct/itkwidgets/", new URL("../../itkwidgets/", own).href];
  }

  async function fetchBundle() {
    const inVoila = own.includes("/voila/");
    for (const place of inVoila ? places().reverse() : places()) {
      const answer = await fetch(place + "index.js");
      if (answer.ok) {
        return [place, await answer.text()];
      }
    }
    throw new Error("The files of itkwidgets are not served; install deepqct again and restart the server.");
  }

  // The bundle's classes come from Backbone's extend, which drops the static methods of real classes.
  function extendable(Parent) {
    const Extended = class extends Parent {};
    Extended.extend = function (properties, statics) {
      const parent = this;
      const Child = class extends parent {};
      Object.assign(Child.prototype, properties);
      Object.assign(Child, statics);
      Child.extend = Extended.extend;
      Child.__super__ = parent.prototype;
      return Child;
    };
    return Extended;
  }

  function hasWebGL() {
    const canvas = document.createElement("canvas");
    return Boolean(canvas.getContext("webgl2") || canvas.getContext("webgl"));
  }

  function withoutWebGL(base) {
    return class extends base.DOMWidgetView {
      render() {
        this.el.textContent = "This browser has no WebGL, which turning a bone needs. The picture below shows it.";
      }
    };
  }

  async function loadModule(base) {
    const [place, source] = await fetchBundle();
    const asked = 'document.querySelector("body").getAttribute("data-base-url")+"nbextensions/itkwidgets/"';
    const widgets = Object.assign({}, base, {
      DOMWidgetModel: extendable(base.DOMWidgetModel),
      DOMWidgetView: extendable(base.DOMWidgetView),
    });
    let module;
    const define = (_, make) => { module = make(widgets); };
    // The first click of the wheel only began to zoom, and the second one zoomed.
    const begun = "0===t.wheelTimeoutID?e.startMouseWheelEvent(r):(";
    const zooming = "0===t.wheelTimeoutID?(e.startMouseWheelEvent(r),e.mouseWheelEvent(r)):(";
    // Less than a screen, and fewer pixels to draw where there is no graphics card.
    const size = 'width:"100%",height:"700px",minHeight:"400px",minWidth:"400px"';
    const smaller = 'width:"100%",height:"460px",minHeight:"400px",minWidth:"400px",maxWidth:"640px"';
    const mended = source.replaceAll(asked, JSON.stringify(place)).replaceAll(begun, zooming).replaceAll(size, smaller);
    new Function("define", mended)(define);
    // An image of one channel has no list of them, on which the bundle would stumble half-way through its start.
    const follow = module.ViewerView.prototype.channels_changed;
    module.ViewerView.prototype.channels_changed = function () {
      return this.model.get("channels") ? follow.call(this) : undefined;
    };
    // Colours of one's own for labels, which the bundle leaves to do: "Custom #009e73 #e69f00" of the labels 1, 2, ...
    const listed = module.ViewerView.prototype.lut_changed;
    module.ViewerView.prototype.lut_changed = function () {
      const [kind, ...colours] = String(this.model.get("lut")).split(" ");
      if (kind !== "Custom" || !this.model.itkVtkViewer) {
        return listed.call(this);
      }
      const view = this.model.itkVtkViewer.getViewProxy();
      const painted = view.getRepresentations()[0].getVolumes()[0].getProperty();
      const colourOf = painted.getRGBTransferFunction(1); // 0 is that of the image
      colourOf.removeAllPoints();
      ["#000000", ...colours].forEach((colour, label) => {
        const [red, green, blue] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16) / 255);
        colourOf.addRGBPointLong(label, red, green, blue, 0.5, 1); // in steps, half-way between two labels
      });
      view.renderLater();
      return undefined;
    };
    const point = module.ViewerModel.serializers.clicked_slice_point; // nor can it send a point beside the bone
    const serialize = point.serialize;
    point.serialize = (value, manager) => (value && value.value ? serialize(value, manager) : null);
    return hasWebGL() ? module : Object.assign({}, module, { ViewerView: withoutWebGL(base) });
  }

  function loadLive(base) {
    return new Promise((done, failed) => {
      const script = document.createElement("script");
      script.src = new URL(`live.js?v=${LIVE}`, own).href;
      script.onload = () => done(window.deepqctLive.exports(base));
      script.onerror = () => failed(new Error("live.js of deepqct is not served; install deepqct again and restart the server."));
      document.head.appendChild(script);
    });
  }

  async function shared(name) {
    const versions = scope[name];
    if (!versions) {
      throw new Error(`${NAME} needs ${name}, which jupyterlab_widgets brings.`);
    }
    const newest = Object.keys(versions).sort((a, b) => a.localeCompare(b, undefined, { numeric: true })).pop();
    return (await versions[newest].get())();
  }

  window._JUPYTERLAB = window._JUPYTERLAB || {};
  window._JUPYTERLAB[NAME] = {
    init: async (given) => { scope = given; },
    get: async (wanted) => {
      if (wanted !== "./extension") {
        throw new Error(`${NAME} has no module ${wanted}.`);
      }
      const base = await shared(BASE);
      let loading;
      const plugin = {
        id: `${NAME}:plugin`,
        autoStart: true,
        requires: [base.IJupyterWidgetRegistry],
        activate: (_, registry) => {
          const exports = () => (loading = loading || loadModule(base));
          registry.registerWidget({ name: "itkwidgets", version: VERSION, exports });
          let live;
          const pictures = () => (live = live || loadLive(base));
          registry.registerWidget({ name: "deepqct", version: LIVE, exports: pictures });
        },
      };
      return () => ({ __esModule: true, default: plugin });
    },
  };
})();
