// The explorer: one scatter plot whose axes can be chosen, a budget slider, overlays, parallel coordinates. Without JavaScript the page has
// three figures in its place. Data: columns of numbers in the element #data, written by explore.rs.
(function () {
  "use strict";
  var source = document.getElementById("data");
  if (!source) return;
  var data = JSON.parse(source.textContent), NS = "http://www.w3.org/2000/svg";
  var by = {};
  data.metrics.forEach(function (m, i) { by[m.name] = i; });
  var trials = data.trials.map(function (t) {
    return { n: t[0], standing: t[1], preset: t[2], name: t[3], title: t[4], v: t[5], lo: t[6] || [], hi: t[7] || [], p: t[8] || [] };
  });
  var $ = function (id) { return document.getElementById(id); };
  function el(tag, attributes, parent, text) {
    var node = document.createElementNS(NS, tag);
    for (var key in attributes) node.setAttribute(key, attributes[key]);
    if (text !== undefined) node.textContent = text;
    if (parent) parent.appendChild(node);
    return node;
  }
  function digits(x) {
    var size = Math.abs(x);
    if (x === 0) return "0";
    if (size >= 99.95) return x.toFixed(0);
    if (size >= 0.001) return x.toPrecision(3);
    return x.toExponential(1);
  }
  function show(m, x) {
    if (x === null || x === undefined) return "–";
    if (m.unit === "Ms") return Math.abs(x) >= 9999.5 ? digits(x / 1000) + " s" : digits(x) + " ms";
    if (m.unit === "Bytes") return Math.abs(x) >= 9.995e8 ? digits(x / 1e9) + " GB" : Math.abs(x) >= 9.995e5 ? digits(x / 1e6) + " MB" : digits(x / 1e3) + " kB";
    if (m.unit === "Rate") return digits(x) + " tok/s";
    if (m.unit === "Joules") return digits(x) + " J";
    if (m.unit === "Watts") return digits(x) + " W";
    if (m.unit === "Share") return (100 * x).toFixed(1) + " %";
    return digits(x);
  }
  // All ticks of an axis in one unit: that of its largest.
  function tick(m, x, top) {
    var text = m.unit === "Ms" && top >= 9999.5 ? digits(x / 1000) + " s" : m.unit === "Bytes" && top >= 9.995e8 ? digits(x / 1e9) + " GB" : show(m, x);
    return text.replace(/(\.\d*?)0+(?=\D*$)/, "$1").replace(/\.(?=\D*$)/, "");
  }
  document.body.classList.add("js");
  $("explorer").hidden = false;

  // Controls.
  function options(select, chosen) {
    data.metrics.forEach(function (m) {
      var o = document.createElement("option");
      o.value = m.name; o.textContent = m.label; o.selected = m.name === chosen;
      select.appendChild(o);
    });
  }
  options($("axis-x"), data.x); options($("axis-y"), data.y);
  if ($("parallel-by")) { options($("parallel-by"), data.y); $("parallel-by").addEventListener("input", parallel); }
  var peak = by.peak_memory_bytes, slider = $("budget");
  var peaks = trials.map(function (t) { return t.v[peak]; }).filter(function (x) { return x > 0; });
  var low = Math.min.apply(null, peaks), high = Math.max(Math.max.apply(null, peaks), data.budget);
  if (!peaks.length) slider.parentNode.hidden = true;
  slider.min = 0; slider.max = 1000; slider.value = 1000;
  function budget() { return +slider.value >= 1000 ? Infinity : low * Math.pow(high / low, slider.value / 1000) * 1.0000001; }
  data.others.forEach(function (other, i) {
    var label = document.createElement("label"), box = document.createElement("input"), key = document.createElement("span");
    box.type = "checkbox"; box.checked = other.shown; box.id = "other-" + i;
    box.addEventListener("change", draw);
    key.className = "swatch o" + i % 3; key.setAttribute("aria-hidden", "true"); key.textContent = "×";
    label.append(box, key, " front of " + other.name + (other.doubts ? " (" + other.doubts + ")" : ""));
    $("overlays").appendChild(label);
  });
  ["axis-x", "axis-y", "budget", "with-presets", "with-dominated"].forEach(function (id) { $(id).addEventListener("input", draw); });

  // Axes.
  function Axis(m, values, from, to) {
    var lo = Math.min.apply(null, values), hi = Math.max.apply(null, values);
    var log = m.log && lo > 0 && hi / lo > 1.5;
    var f = log ? Math.log : function (x) { return x; };
    var a = f(lo), b = f(hi), pad = (b - a || Math.abs(a) * 0.1 || 1) * 0.07;
    a -= pad; b += pad;
    if (!log && lo >= 0 && a < 0) a = 0;
    this.at = function (x) { return from + (f(x) - a) / (b - a) * (to - from); };
    var first = log ? Math.exp(a) : a, last = log ? Math.exp(b) : b, ticks = [];
    if (log && last / first > 2.5) {
      var ratio = last / first, marks = ratio > 100 ? [1] : ratio > 12 ? [1, 2, 5] : ratio > 5 ? [1, 2, 3, 5, 7] : [1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8];
      for (var e = Math.floor(Math.log10(first)); e <= Math.log10(last); e++)
        marks.forEach(function (k) { var x = k * Math.pow(10, e); if (x >= first && x <= last) ticks.push(x); });
    } else {
      var rough = (last - first) / 6, power = Math.pow(10, Math.floor(Math.log10(rough)));
      var step = [1, 2, 5, 10].map(function (k) { return k * power; }).filter(function (s) { return s >= rough; })[0];
      for (var x = Math.ceil(first / step) * step; x <= last; x += step) ticks.push(Math.abs(x) < step / 1e6 ? 0 : x);
    }
    this.ticks = ticks;
  }
  // A staircase along the front of the two axes alone.
  function stairs(points, mx, my) {
    var cost = function (m, x) { return m.max ? -x : x; };
    var sorted = points.slice().sort(function (p, q) { return cost(mx, p[0]) - cost(mx, q[0]) || cost(my, p[1]) - cost(my, q[1]); });
    var best = Infinity, front = [];
    sorted.forEach(function (p) { var c = cost(my, p[1]); if (c < best) { best = c; front.push(p); } });
    return front;
  }

  var tip = $("tip"), plot = $("plot"), chosen = null;
  // Name, value and interval of each metric that was measured.
  // Those of the axes, the objectives, and the first few others: the drill-down has them all.
  function values(v, lo, hi) {
    var rows = [], axes = [$("axis-x").value, $("axis-y").value];
    data.metrics.forEach(function (m, i) {
      var wanted = m.usual || axes.indexOf(m.name) >= 0 || data.objectives.indexOf(m.name) >= 0;
      if (!number(v[i]) || !wanted) return;
      var known = lo && hi && number(lo[i]) && number(hi[i]) && lo[i] < hi[i];
      rows.push([m.label, show(m, v[i]), known ? show(m, lo[i]) + " to " + show(m, hi[i]) : ""]);
    });
    return rows;
  }
  function number(x) { return typeof x === "number" && isFinite(x); }
  function add(tag, parent, text) { var node = document.createElement(tag); if (text) node.textContent = text; parent.appendChild(node); return node; }
  function write(title, name, rows) {
    tip.textContent = "";
    add("strong", tip, title); add("p", tip, name);
    var list = add("dl", tip);
    rows.forEach(function (row) {
      add("dt", list, row[0]);
      var dd = add("dd", list, row[1]);
      if (row[2]) add("small", dd, row[2]);
    });
  }
  function title(t) { return "Trial " + t.n + (t.title ? " (" + t.title + ")" : ""); }
  function name(t) { return t.preset ? t.preset + ", a preset" : t.name; }
  function tell(t) {
    chosen = t.n;
    write(title(t), name(t), values(t.v, t.lo, t.hi));
    var a = document.createElement("a");
    a.href = document.getElementById("d" + t.n) ? "#d" + t.n : "#t" + t.n;
    a.textContent = "details of trial " + t.n;
    tip.appendChild(a);
    document.querySelectorAll("[data-n]").forEach(function (node) { node.classList.toggle("chosen", +node.dataset.n === chosen); });
  }

  function draw() {
    var mx = data.metrics[by[$("axis-x").value]], my = data.metrics[by[$("axis-y").value]], ix = by[mx.name], iy = by[my.name];
    var most = budget(), presets = $("with-presets").checked, dominated = $("with-dominated").checked;
    var fits = trials.filter(function (t) { return t.standing && t.v[peak] <= most; }).length;
    $("budget-text").textContent = (most === Infinity ? "all" : show(data.metrics[peak], most)) + ": " + fits + " of " + trials.filter(function (t) { return t.standing; }).length + " complete trials fit";
    var seen = trials.filter(function (t) {
      return number(t.v[ix]) && number(t.v[iy]) && (t.preset ? presets : t.standing === 2 || dominated);
    });
    plot.textContent = "";
    // As many units as pixels, so that letters keep their size on a phone.
    var W = Math.max(320, Math.min(960, plot.clientWidth || 960)), small = W < 600, H = Math.round(small ? W * 0.95 : W * 0.58), L = small ? 62 : 92, R = 14, T = small ? 34 : 14, B = 58;
    plot.setAttribute("viewBox", "0 0 " + W + " " + H);
    var others = data.others.map(function (o, i) {
      var box = $("other-" + i);
      return { name: o.name, i: i, points: box.checked ? o.points.map(function (p) { return [p[2][ix], p[2][iy], p]; }).filter(function (p) { return number(p[0]) && number(p[1]); }) : [] };
    });
    if (!seen.length) { el("text", { x: W / 2, y: H / 2, "text-anchor": "middle", class: "tick" }, plot, "no trial has both values"); return; }
    var xs = seen.map(function (t) { return t.v[ix]; }), ys = seen.map(function (t) { return t.v[iy]; });
    others.forEach(function (o) { o.points.forEach(function (p) { xs.push(p[0]); ys.push(p[1]); }); });
    var X = new Axis(mx, xs, L, W - R), Y = new Axis(my, ys, H - B, T);
    var taken = -Infinity;
    X.ticks.forEach(function (x) {
      var at = X.at(x), text = tick(mx, x, X.ticks[X.ticks.length - 1]), half = text.length * 3.7;
      el("line", { x1: at, x2: at, y1: T, y2: H - B, class: "grid" }, plot);
      // A number stays inside the figure and clear of the one before.
      var middle = Math.min(at, W - half - 1);
      if (middle - half < taken + 8) return;
      taken = middle + half;
      el("text", { x: middle, y: H - B + 20, "text-anchor": "middle", class: "tick" }, plot, text);
    });
    Y.ticks.forEach(function (y) {
      el("line", { x1: L, x2: W - R, y1: Y.at(y), y2: Y.at(y), class: "grid" }, plot);
      el("text", { x: L - 8, y: Y.at(y) + 5, "text-anchor": "end", class: "tick" }, plot, tick(my, y, Y.ticks[Y.ticks.length - 1]));
    });
    el("text", { x: (L + W - R) / 2, y: H - 10, "text-anchor": "middle", class: "name" }, plot, mx.label + (mx.max ? " (better →)" : " (← better)"));
    var up = my.label + (my.max ? (small ? " (↑ better)" : " (better →)") : small ? " (↓ better)" : " (← better)");
    el("text", small ? { x: 2, y: 16, class: "name" } : { transform: "translate(14 " + (T + H - B) / 2 + ") rotate(-90)", "text-anchor": "middle", class: "name" }, plot, up);
    var line = function (points, cls) {
      var d = "";
      stairs(points, mx, my).forEach(function (p, i) { var x = X.at(p[0]).toFixed(1), y = Y.at(p[1]).toFixed(1); d += i ? "H" + x + "V" + y : "M" + x + " " + y; });
      if (d) el("path", { d: d, class: cls }, plot);
    };
    line(seen.filter(function (t) { return t.standing && t.v[peak] <= most; }).map(function (t) { return [t.v[ix], t.v[iy]]; }), "stairs");
    others.forEach(function (o) {
      line(o.points, "stairs other o" + o.i % 3);
      o.points.forEach(function (p) {
        var x = X.at(p[0]), y = Y.at(p[1]), what = o.name + ", trial " + p[2][0];
        var g = el("g", { class: "alien", tabindex: 0, role: "img", "aria-label": what + ", " + p[2][1] + ", " + mx.label + " " + show(mx, p[0]) + ", " + my.label + " " + show(my, p[1]) }, plot);
        el("path", { d: "M" + (x - 5) + " " + (y - 5) + "l10 10m0 -10l-10 10", class: "cross o" + o.i % 3 }, g);
        el("circle", { cx: x, cy: y, r: 11, class: "hit" }, g);
        ["mouseenter", "focus"].forEach(function (event) { g.addEventListener(event, function () { write("Study " + what, p[2][1], values(p[2][2])); }); });
      });
    });
    seen.sort(function (a, b) { return a.standing - b.standing || !!a.title - !!b.title; });
    var boxes = [];
    seen.forEach(function (t) {
      var x = X.at(t.v[ix]), y = Y.at(t.v[iy]), dim = !(t.v[peak] <= most) ? " over" : "";
      var kind = (t.preset ? "preset" : "found") + (t.standing === 2 ? " front" : t.standing === 1 ? " dominated" : " out") + dim;
      var key = t.standing === 2 || t.preset;
      var bar = function (m, i, horizontal) {
        if (!key || seen.length > 300 || !number(t.lo[i]) || !number(t.hi[i])) return;
        var axis = horizontal ? X : Y, a = axis.at(Math.max(t.lo[i], m.log ? 1e-12 : -Infinity)), b = axis.at(t.hi[i]);
        a = Math.max(horizontal ? L : T, Math.min(a, horizontal ? W - R : H - B)); b = Math.max(horizontal ? L : T, Math.min(b, horizontal ? W - R : H - B));
        el("line", horizontal ? { x1: a, x2: b, y1: y, y2: y, class: "bar " + kind } : { x1: x, x2: x, y1: a, y2: b, class: "bar " + kind }, plot);
      };
      bar(mx, ix, true); bar(my, iy, false);
      var a = el("a", { href: "#t" + t.n, "data-n": t.n, class: "point " + kind + (t.n === chosen ? " chosen" : ""), tabindex: key ? 0 : -1, "aria-label": title(t) + ", " + name(t) + ", " + mx.label + " " + show(mx, t.v[ix]) + ", " + my.label + " " + show(my, t.v[iy]) }, plot);
      if (t.title) el("circle", { cx: x, cy: y, r: 10.5, class: "ring" }, a);
      if (t.preset) el("rect", { x: x - 5, y: y - 5, width: 10, height: 10 }, a); else el("circle", { cx: x, cy: y, r: key ? 5.5 : 4 }, a);
      el("circle", { cx: x, cy: y, r: 12, class: "hit" }, a);
      a.addEventListener("mouseenter", function () { tell(t); });
      a.addEventListener("focus", function () { tell(t); });
      boxes.push([x - 8, y - 8, x + 8, y + 8]);
    });
    // Names where there is room for them, the recommended first, and shorter where there is little.
    seen.slice().reverse().forEach(function (t) {
      var x = X.at(t.v[ix]), y = Y.at(t.v[iy]);
      [[t.preset, t.title].filter(Boolean).join(", "), t.preset || t.title.split(",")[0]].some(function (text) {
        var w = text.length * 7.2;
        return !text || [[13, 5], [12, -10], [12, 20], [-13 - w, 5], [-12 - w, -10], [-12 - w, 20], [-w / 2, -14], [-w / 2, 26]].some(function (o) {
          var b = [x + o[0], y + o[1] - 11, x + o[0] + w + 10, y + o[1] + 3];
          if (b[0] < L || b[2] > W - R || b[1] < T || b[3] > H - B) return false;
          if (boxes.some(function (c) { return b[0] < c[2] && c[0] < b[2] && b[1] < c[3] && c[1] < b[3]; })) return false;
          boxes.push(b);
          el("text", { x: b[0], y: b[3] - 3, class: "name" }, plot, text);
          return true;
        });
      });
    });
    document.querySelectorAll("#trials tbody tr").forEach(function (row) {
      var t = rowsOf[+row.id.slice(1)];
      row.classList.toggle("over", !!t && t.v[peak] > most);
    });
  }
  var rowsOf = {};
  trials.forEach(function (t) { rowsOf[t.n] = t; });

  // Parallel coordinates: parameters first, then the objectives; the best fifth by a chosen metric stands out.
  function parallel() {
    var svg = $("parallel");
    if (!svg || !data.params.length) { if (svg) svg.parentNode.hidden = true; return; }
    var select = $("parallel-by");
    svg.textContent = "";
    var m = data.metrics[by[select.value]], im = by[select.value];
    var lines = trials.filter(function (t) { return t.standing && t.p.length && !t.preset; });
    lines.sort(function (a, b) { return b.standing - a.standing; });
    lines = lines.slice(0, 400);
    var values = lines.map(function (t) { return t.v[im]; }).filter(function (x) { return x !== null; }).sort(function (a, b) { return m.max ? b - a : a - b; });
    var bound = values[Math.max(0, Math.ceil(values.length / 5) - 1)];
    var good = function (t) { var x = t.v[im]; return x !== null && (m.max ? x >= bound : x <= bound); };
    var axes = data.params.map(function (p, i) { return { label: p.name, levels: p.levels, of: function (t) { return t.p[i] < 0 ? null : (p.levels.length < 2 ? 0.5 : t.p[i] / (p.levels.length - 1)); } }; });
    data.objectives.forEach(function (name) {
      var i = by[name], o = data.metrics[i];
      if (o === undefined) return;
      var xs = lines.map(function (t) { return t.v[i]; }).filter(function (x) { return typeof x === "number"; });
      var f = o.log ? Math.log : function (x) { return x; }, lo = f(Math.min.apply(null, xs)), hi = f(Math.max.apply(null, xs));
      axes.push({ label: o.short, ends: [show(o, Math.min.apply(null, xs)), show(o, Math.max.apply(null, xs))], of: function (t) { return typeof t.v[i] !== "number" ? null : hi > lo ? (f(t.v[i]) - lo) / (hi - lo) : 0.5; } });
    });
    var W = Math.max(svg.parentNode.clientWidth - 2, 78 * axes.length + 30), H = 360, T = 46, B = 30;
    svg.setAttribute("viewBox", "0 0 " + W + " " + H); svg.style.minWidth = W + "px";
    var x = function (k) { return (k + 0.5) * (W - 30) / axes.length; }, y = function (s) { return H - B - s * (H - B - T); };
    lines.slice().reverse().sort(function (a, b) { return good(a) - good(b); }).forEach(function (t) {
      var d = "", open = false;
      axes.forEach(function (a, k) {
        var s = a.of(t);
        if (s === null) { open = false; return; }
        // Lines of one level lie side by side, not on one another.
        var shift = a.levels ? (t.n * 7 % 11 - 5) * 1.1 : 0;
        d += (open ? "L" : "M") + x(k).toFixed(1) + " " + (y(s) + shift).toFixed(1); open = true;
      });
      var path = el("path", { d: d, class: "thread" + (good(t) ? " good" : ""), "data-n": t.n }, svg);
      path.addEventListener("mouseenter", function () { tell(t); });
    });
    axes.forEach(function (a, k) {
      el("line", { x1: x(k), x2: x(k), y1: T, y2: H - B, class: "axis" }, svg);
      el("text", { x: x(k), y: 16 + (k % 2) * 16, "text-anchor": "middle", class: "name" }, svg, a.label);
      var marks = a.levels ? a.levels.map(function (l, i) { return [a.levels.length < 2 ? 0.5 : i / (a.levels.length - 1), l]; }) : [[0, a.ends[0]], [1, a.ends[1]]];
      marks.forEach(function (mark) { el("text", { x: x(k) + 5, y: y(mark[0]) + 4, class: "tick halo" }, svg, mark[1]); });
    });
    $("parallel-text").textContent = "Orange: the best fifth by " + m.label + " (" + lines.filter(good).length + " of " + lines.length + " complete trials of the search).";
  }

  // The table: filter, and from a row to its point.
  var filter = $("filter"), onlyFront = $("only-front"), rows = Array.prototype.slice.call(document.querySelectorAll("#trials tbody tr"));
  function sift() {
    var words = filter.value.toLowerCase().split(/\s+/).filter(Boolean), shown = 0;
    rows.forEach(function (row) {
      var text = row.dataset.text || (row.dataset.text = row.textContent.toLowerCase());
      var keep = (!onlyFront.checked || row.classList.contains("f")) && words.every(function (w) { return text.indexOf(w) >= 0; });
      row.hidden = !keep; shown += keep;
    });
    $("filter-text").textContent = shown + " of " + rows.length + " trials";
  }
  $("table-tools").hidden = false;
  filter.addEventListener("input", sift); onlyFront.addEventListener("input", sift);
  rows.forEach(function (row) {
    var n = +row.id.slice(1), cell = row.cells[0];
    if (!rowsOf[n]) return;
    var a = document.createElement("a");
    a.href = "#explorer"; a.textContent = cell.textContent; a.setAttribute("aria-label", "show trial " + n + " in the figure");
    cell.textContent = ""; cell.appendChild(a);
    a.addEventListener("click", function () { tell(rowsOf[n]); draw(); });
  });
  function open() {
    var node = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
    if (node && node.tagName === "DETAILS") { node.open = true; node.scrollIntoView(); }
  }
  window.addEventListener("hashchange", open);
  window.addEventListener("resize", function () { draw(); parallel(); });
  // A page that loads itself again comes back as the reader left it.
  var watched = document.querySelector("meta[http-equiv=refresh]"), kept = "autotune " + location.pathname;
  function controls() { return Array.prototype.filter.call(document.querySelectorAll("select, input"), function (c) { return c.id; }); }
  if (watched) {
    window.addEventListener("pagehide", function () {
      var state = { scroll: window.scrollY, open: [], controls: {} };
      controls().forEach(function (c) { state.controls[c.id] = c.type === "checkbox" ? c.checked : c.value; });
      document.querySelectorAll("details[id]").forEach(function (d) { if (d.open) state.open.push(d.id); });
      try { sessionStorage.setItem(kept, JSON.stringify(state)); } catch (e) { /* a browser that keeps nothing */ }
    });
  }
  var before = null;
  if (watched) try { before = JSON.parse(sessionStorage.getItem(kept)); } catch (e) { /* as above */ }
  if (before) controls().forEach(function (c) {
    var value = before.controls[c.id];
    if (typeof value === "boolean") c.checked = value; else if (value !== undefined) { c.value = value; if (c.tagName === "SELECT" && c.selectedIndex < 0) c.selectedIndex = 0; }
  });
  // The panel begins with what is recommended first.
  var first = trials.filter(function (t) { return /balanced/.test(t.title); })[0];
  if (first) tell(first);
  draw(); parallel(); sift(); open();
  if (before) {
    before.open.forEach(function (id) { var d = $(id); if (d) d.open = true; });
    window.scrollTo(0, before.scroll);
  }
})();
