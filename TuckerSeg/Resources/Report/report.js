"use strict";
(function () {
  const MOST_NOTES = 20;
  const byName = new Map(DATA.cases.map((each) => [each.name, each]));
  const at = (id) => document.getElementById(id);
  // Every text goes in as text: names of files and structures are never taken for markup
  function make(tag, options, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(options || {})) {
      if (name === "class") element.className = value;
      else if (name === "click") element.addEventListener("click", value);
      else element.setAttribute(name, value);
    }
    for (const child of children) if (child !== null && child !== undefined) element.append(child);
    return element;
  }
  function draw(tag, options, title) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(options)) element.setAttribute(name, value);
    if (title) {
      const words = document.createElementNS("http://www.w3.org/2000/svg", "title");
      words.textContent = title;
      element.append(words);
    }
    return element;
  }
  const ml = (value) => (value >= 100 ? value.toFixed(0) : value >= 1 ? value.toFixed(1) : value.toPrecision(2)) + " ml";
  const seconds = (value) => (value >= 90 ? (value / 60).toFixed(1) + " min" : value.toFixed(1) + " s");

  function tiles() {
    const done = DATA.cases.filter((each) => each.done);
    const failed = DATA.cases.length - done.length;
    const remarks = DATA.cases.filter((each) => each.done && each.reasons.length).length;
    const times = done.map((each) => each.seconds).sort((a, b) => a - b);
    const rows = [["cases", DATA.cases.length], ["failed", failed, failed], ["with remarks", remarks, remarks],
      ["structures", DATA.structures.length]];
    if (times.length) rows.push(["median time", seconds(times[Math.floor(times.length / 2)])]);
    for (const [words, value, alarm] of rows)
      at("tiles").append(make("div", {class: alarm ? "tile alarm" : "tile"}, make("b", {}, String(value)), words));
  }

  function notable() {
    const place = at("notable");
    if (!DATA.notable.length) place.append(make("p", {}, "Nothing stands out: no case failed, no check warns, no volume is far from the others."));
    for (const name of DATA.notable.slice(0, MOST_NOTES)) {
      const list = make("ul", {}, ...byName.get(name).reasons.map((words) => make("li", {}, words)));
      place.append(make("div", {class: "note"}, link(name), list));
    }
    const more = DATA.notable.length - MOST_NOTES;
    if (more > 0) place.append(make("p", {class: "quiet"}, more + " more are below: only with remarks."));
  }
  function link(name) {
    return make("a", {href: "#case=" + encodeURIComponent(name)}, name);
  }

  const COLUMNS = [["Case", "name"], ["Structures", "structures"], ["Liters", "liters"], ["Seconds", "seconds"],
    ["Voxels", "shape"], ["Spacing mm", "spacing"], ["Body parts", "parts"], ["Remarks", "remarks"]];
  let order = {key: "name", up: true};
  const valueOf = (each, key) => key === "remarks" ? each.reasons.length : key === "parts" ? (each.parts || []).join(", ") : each[key];

  function chosen() {
    const words = at("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
    const only = at("only").checked;
    const rows = DATA.cases.filter((each) => {
      const text = [each.name, each.image, ...(each.parts || []), ...each.reasons].join(" ").toLowerCase();
      return words.every((word) => text.includes(word)) && (!only || each.reasons.length);
    });
    const direction = order.up ? 1 : -1;
    return rows.sort((a, b) => {
      const [x, y] = [valueOf(a, order.key), valueOf(b, order.key)];
      if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);
      return direction * (typeof x === "number" ? x - y : String(x).localeCompare(String(y), "en", {numeric: true}));
    });
  }
  function cases() {
    const rows = chosen();
    at("count").textContent = rows.length + " of " + DATA.cases.length + " cases";
    at("gallery").replaceChildren(...rows.map(cell));
    at("table").tBodies[0].replaceChildren(...rows.map(row));
    at("table").tHead.replaceChildren(make("tr", {}, ...COLUMNS.map(([words, key]) => {
      const state = order.key === key ? (order.up ? "ascending" : "descending") : "none";
      const arrow = state === "none" ? "" : order.up ? " ↑" : " ↓";
      const button = make("button", {type: "button", click: () => {
        order = {key, up: order.key === key ? !order.up : true};
        cases();
      }}, words + arrow);
      return make("th", {"aria-sort": state, scope: "col"}, button);
    })));
  }
  function cell(each) {
    const picture = each.picture ? make("img", {src: each.picture, alt: "Slices of " + each.name, loading: "lazy"})
      : make("div", {class: "none"}, each.done ? "no picture" : "failed");
    const remarks = each.reasons.length ? make("span", {class: "mark"}, each.done ? "⚠ " + each.reasons.length : "failed")
      : make("span", {class: "quiet"}, each.structures + " structures");
    remarks.style.padding = 0;
    return make("button", {type: "button", class: each.reasons.length ? "cell alarm" : "cell", "data-case": each.name, click: () => open(each.name)},
      picture, make("span", {}, make("em", {title: each.name}, each.name), remarks));
  }
  function row(each) {
    const number = (value, digits) => make("td", {class: "number"}, value === undefined ? "" : value.toFixed(digits));
    return make("tr", {class: each.reasons.length ? "alarm" : "", "data-case": each.name, click: () => open(each.name)},
      make("td", {}, link(each.name)), number(each.structures, 0), number(each.liters, 2), number(each.seconds, 1),
      make("td", {}, each.shape || ""), make("td", {}, each.spacing || ""), make("td", {}, (each.parts || []).join(", ")),
      number(each.reasons.length, 0));
  }

  function spreads() {
    const words = at("find").value.toLowerCase();
    const place = at("spreads");
    place.replaceChildren();
    let group = null;
    for (const each of DATA.structures) {
      if (!each.title.toLowerCase().includes(words)) continue;
      if (each.group !== group) place.append(make("h3", {}, (group = each.group)));
      place.append(spread(each));
    }
  }
  function spread(each) {
    const values = each.volumes.map((volume) => volume[1]);
    const low = Math.min(...values), high = Math.max(...values), range = high - low || high || 1;
    const start = high === low ? low - range / 2 : low - range * 0.03, width = high === low ? range : range * 1.06;
    const x = (value) => 1000 * (value - start) / width;
    const svg = draw("svg", {viewBox: "0 0 1000 30", preserveAspectRatio: "none", role: "img"}, each.title + ": median " + ml(each.quartiles[2]));
    svg.append(draw("line", {class: "axis", x1: 0, x2: 1000, y1: 15, y2: 15}));
    const [, lower, median, upper] = each.quartiles;
    svg.append(draw("rect", {class: "box", x: x(lower), width: Math.max(x(upper) - x(lower), 1), y: 5, height: 20}));
    svg.append(draw("line", {class: "middle", x1: x(median), x2: x(median), y1: 4, y2: 26, "vector-effect": "non-scaling-stroke"}));
    const holder = make("div", {});
    holder.style.position = "relative";
    holder.append(svg);
    for (const [name, volume, cut, far] of each.volumes) {
      const words = name + ": " + ml(volume) + (cut ? ", cut by the border" : "") + (far ? ", far from the others" : "");
      const dot = make("a", {href: "#case=" + encodeURIComponent(name), title: words, "aria-label": words,
        class: "point" + (cut ? " cut" : "") + (far ? " far" : "")});
      dot.style.left = x(volume) / 10 + "%";
      holder.append(dot);
    }
    const name = make("span", {}, make("i", {}), each.title);
    name.firstChild.style.background = each.color;
    return make("div", {class: "spread"}, name, holder,
      make("small", {}, ml(median) + " (" + each.volumes.length + (each.volumes.length === 1 ? " case)" : " cases)")));
  }

  function open(name) {
    location.hash = "case=" + encodeURIComponent(name);
  }
  function show() {
    const dialog = at("case");
    const match = /^#case=(.*)$/.exec(location.hash);
    const each = match && byName.get(decodeURIComponent(match[1]));
    if (!each) {
      if (dialog.open) dialog.close();
      return;
    }
    const facts = [["Image", each.image], ["Voxels", each.shape && each.shape + " of " + each.spacing + " mm"], ["Model", each.model],
      ["Device", each.device], ["Body parts", (each.parts || []).join(", ")], ["Time", seconds(each.seconds)], ["Files", each.files.join(", ")]];
    const list = make("dl", {});
    for (const [words, value] of facts) if (value) list.append(make("dt", {class: "quiet"}, words), make("dd", {}, value));
    const volumes = make("tbody", {});
    for (const structure of DATA.structures)
      for (const [owner, volume, cut, far] of structure.volumes)
        if (owner === name(each)) volumes.append(make("tr", {}, make("td", {}, structure.title), make("td", {class: "number"}, ml(volume)),
          make("td", {class: far ? "mark" : "quiet"}, [cut ? "cut by the border" : "", far ? "far from the others" : ""].filter(Boolean).join(", "))));
    at("case-body").replaceChildren(make("h2", {id: "case-name"}, each.name),
      each.picture ? make("img", {src: each.picture, alt: "Slices of " + each.name}) : "",
      each.reasons.length ? make("div", {class: "note"}, make("ul", {}, ...each.reasons.map((words) => make("li", {}, words)))) : "",
      list, make("table", {}, volumes));
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = 0;
  }
  function name(each) {
    return each.name;
  }

  const forget = () => history.replaceState(null, "", location.href.split("#")[0]);
  at("case").addEventListener("cancel", forget);
  at("case").querySelector("form").addEventListener("submit", forget);
  at("filter").addEventListener("input", cases);
  at("only").addEventListener("change", cases);
  at("find").addEventListener("input", spreads);
  at("view").addEventListener("click", () => {
    const table = at("table").hidden;
    at("table").hidden = !table;
    at("gallery").hidden = table;
    at("gallery").style.display = table ? "none" : "";
    at("view").textContent = table ? "Pictures" : "Table";
    at("view").setAttribute("aria-pressed", String(table));
  });
  window.addEventListener("hashchange", show);
  tiles();
  notable();
  cases();
  spreads();
  show();
})();
