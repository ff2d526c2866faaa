// Charts: candles where they can be had, else the prices that are known; levels as lines, fills as marks.
"use strict";

(() => {
  const charts = new Map();
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  // The library knows no zones: it is given times as the viewer's clock showed them then.
  const local = (seconds) => seconds - new Date(seconds * 1000).getTimezoneOffset() * 60;

  function look() {
    return {
      layout: { background: { color: colour("card") }, textColor: colour("soft"), attributionLogo: false, fontSize: 11 },
      grid: { vertLines: { color: colour("line") }, horzLines: { color: colour("line") } },
      rightPriceScale: { borderColor: colour("line") },
      timeScale: { borderColor: colour("line"), timeVisible: true, secondsVisible: false },
    };
  }

  function precision(model) {
    const texts = [...model.levels.map((each) => each.price), ...model.prices.map((each) => each[1])];
    const digits = Math.max(2, ...texts.map((text) => (String(text).split(".")[1] ?? "").length));
    return { type: "price", precision: Math.min(digits, 8), minMove: 10 ** -Math.min(digits, 8) };
  }

  // One value a second, rising: the library takes nothing else.
  function rising(points) {
    const byTime = new Map();
    for (const point of points) byTime.set(point.time, point);
    return [...byTime.values()].sort((one, other) => one.time - other.time);
  }

  function series(chart, model) {
    const format = precision(model);
    if (model.bars.length) {
      const [up, down] = [colour("up"), colour("down")];
      const candles = chart.addSeries(LightweightCharts.CandlestickSeries, {
        upColor: up, downColor: down, borderVisible: false, wickUpColor: up, wickDownColor: down, priceFormat: format,
      });
      candles.setData(rising(model.bars.map(([at, open, high, low, close]) => (
        { time: local(at), open: Number(open), high: Number(high), low: Number(low), close: Number(close) }))));
      return candles;
    }
    const line = chart.addSeries(LightweightCharts.LineSeries, { color: colour("link"), lineWidth: 2, lineType: 1, priceFormat: format, pointMarkersVisible: model.prices.length < 40 });
    line.setData(rising(model.prices.map(([at, price]) => ({ time: local(at), value: Number(price) }))));
    return line;
  }

  function draw(box, model) {
    box.textContent = "";
    if (!model.bars.length && !model.prices.length) {
      const words = document.createElement("p");
      words.className = "words";
      words.textContent = "No price is known yet.";
      box.append(words);
      return;
    }
    const chart = LightweightCharts.createChart(box, { autoSize: true, ...look() });
    const main = series(chart, model);
    for (const level of model.levels) {
      main.createPriceLine({ price: Number(level.price), color: colour(level.role), lineWidth: 1, lineStyle: level.role === "entry" ? 0 : 2, title: level.title });
    }
    const values = model.levels.map((level) => Number(level.price));
    main.applyOptions({
      autoscaleInfoProvider: (original) => {
        const found = original();
        if (!values.length) return found;
        const range = found?.priceRange ?? { minValue: values[0], maxValue: values[0] };
        return { ...found, priceRange: { minValue: Math.min(range.minValue, ...values), maxValue: Math.max(range.maxValue, ...values) } };
      },
    });
    const marks = model.marks.map((mark) => ({
      time: local(mark.at), position: mark.side === "BUY" ? "belowBar" : "aboveBar", shape: mark.side === "BUY" ? "arrowUp" : "arrowDown",
      color: colour(mark.side === "BUY" ? "up" : "down"), text: mark.text,
    })).sort((one, other) => one.time - other.time);
    LightweightCharts.createSeriesMarkers(main, marks);
    chart.timeScale().fitContent();
    if (model.bars.length > 120) chart.timeScale().setVisibleLogicalRange({ from: model.bars.length - 110, to: model.bars.length + 4 });
    charts.set(box, chart);
  }

  async function load(box, tries = 3) {
    let model;
    try {
      model = await Desk.ask(box.dataset.chart, null, "GET");
    } catch (error) {
      box.textContent = "";
      const words = Object.assign(document.createElement("p"), { className: "words", textContent: error.message });
      box.append(words);
      return;
    }
    charts.get(box)?.remove();
    charts.delete(box);
    draw(box, model);
    box.dataset.drawn = model.bars.length ? "bars" : "prices";
    const note = document.querySelector(`[data-note="${CSS.escape(box.id)}"]`);
    if (note) note.textContent = model.note;
    if (model.wanted && tries > 0 && box.isConnected) {
      if (tries === 3) await Desk.ask(`${box.dataset.chart}`, {}).catch(() => {});
      setTimeout(() => { if (box.isConnected) load(box, tries - 1); }, 2500);
    }
  }

  function start(root) {
    for (const box of root.querySelectorAll("[data-chart]:not([data-drawn])")) {
      box.dataset.drawn = "";
      load(box);
    }
  }

  function drawCurve(box) {
    const chart = LightweightCharts.createChart(box, { autoSize: true, ...look() });
    const area = chart.addSeries(LightweightCharts.BaselineSeries, {
      baseValue: { type: "price", price: 0 }, topLineColor: colour("up"), bottomLineColor: colour("down"), lineWidth: 2,
      topFillColor1: `${colour("up")}55`, topFillColor2: `${colour("up")}11`, bottomFillColor1: `${colour("down")}11`, bottomFillColor2: `${colour("down")}55`,
    });
    area.setData(rising(JSON.parse(box.dataset.curve).map(([at, value]) => ({ time: local(at), value: Number(value) }))));
    chart.timeScale().fitContent();
    charts.set(box, chart);
  }

  start(document);
  for (const box of document.querySelectorAll("[data-curve]")) drawCurve(box);
  Desk.onPart(start);
  // A story that moves on has new marks and levels.
  Desk.onPart((part) => {
    const box = part.dataset.redraws && document.getElementById(part.dataset.redraws);
    if (box) load(box, 0);
  });
  dark.addEventListener("change", () => { for (const chart of charts.values()) chart.applyOptions(look()); });
})();
