// SPDX-License-Identifier: Apache-2.0
// Enhances the page: draws the charts from the embedded data and makes tables sortable. Without it the tables are there.
'use strict';
(function () {
  document.documentElement.classList.add('scripts');
  var palette = ['#0072B2', '#E69F00', '#009E73', '#CC79A7', '#D55E00', '#56B4E9', '#8C7A00', '#7F7F7F'];
  var peers = ['#D55E00', '#E69F00', '#CC79A7', '#009E73'];
  var markers = ['circle', 'rectRot', 'triangle', 'rect', 'star', 'crossRot', 'rectRounded', 'cross'];
  var dashes = [[6, 4], [2, 3], [12, 4], [12, 3, 2, 3], [1, 5]];
  var dark = matchMedia('(prefers-color-scheme: dark)');
  var drawn = [];

  function css(name) { return getComputedStyle(document.documentElement).getPropertyValue(name).trim(); }

  function hatch(colour) {
    var tile = document.createElement('canvas');
    tile.width = tile.height = 8;
    var pen = tile.getContext('2d');
    pen.strokeStyle = colour;
    pen.lineWidth = 1.5;
    pen.beginPath();
    pen.moveTo(0, 8); pen.lineTo(8, 0);
    pen.moveTo(-2, 2); pen.lineTo(2, -2);
    pen.moveTo(6, 10); pen.lineTo(10, 6);
    pen.stroke();
    return pen.createPattern(tile, 'repeat');
  }

  function number(v) {
    if (!isFinite(v)) return '–';
    if (v !== 0 && (Math.abs(v) >= 1e6 || Math.abs(v) < 1e-3)) return v.toExponential(1);
    return String(+v.toPrecision(3));
  }

  function bytes(v) {
    var units = ['', ' Ki', ' Mi', ' Gi'], i = 0;
    while (v >= 1024 && i < 3) { v /= 1024; i++; }
    return +v.toPrecision(3) + units[i];
  }

  // Intervals as whiskers, direct labels at line ends, and a ceiling line across bars.
  var overlay = {
    id: 'overlay',
    afterDatasetsDraw: function (chart) {
      var pen = chart.ctx, spec = chart.config.options.spec, area = chart.chartArea;
      pen.save();
      chart.data.datasets.forEach(function (set, i) {
        if (!chart.isDatasetVisible(i)) return;
        chart.getDatasetMeta(i).data.forEach(function (mark, j) {
          var at = set.source[j];
          if (!at || at[2] === null || at[2] === undefined || at[3] - at[2] <= 0) return;
          var y1 = chart.scales.y.getPixelForValue(at[2]), y2 = chart.scales.y.getPixelForValue(at[3]);
          pen.strokeStyle = css('--ink');
          pen.lineWidth = 1.2;
          pen.beginPath();
          pen.moveTo(mark.x, y1); pen.lineTo(mark.x, y2);
          pen.moveTo(mark.x - 4, y1); pen.lineTo(mark.x + 4, y1);
          pen.moveTo(mark.x - 4, y2); pen.lineTo(mark.x + 4, y2);
          pen.stroke();
        });
      });
      if (spec.line) {
        var y = chart.scales.y.getPixelForValue(spec.line.y);
        pen.setLineDash([6, 4]);
        pen.strokeStyle = css('--soft');
        pen.beginPath(); pen.moveTo(area.left, y); pen.lineTo(area.right, y); pen.stroke();
        pen.fillStyle = css('--soft');
        pen.font = '12px system-ui, sans-serif';
        pen.textAlign = 'right';
        pen.fillText(spec.line.label + ' ' + number(spec.line.y), area.right, y - 5);
      }
      pen.restore();
    }
  };

  function dataset(spec, series, index, counts) {
    var colour, peer = series.role === 'peer', ceiling = series.role === 'ceiling', wait = series.role === 'wait';
    if (ceiling) colour = css('--soft');
    else if (series.role === 'tandem') colour = palette[counts.tandem++ ? 5 : 0];
    else if (peer) colour = peers[counts.peer++ % peers.length];
    else colour = palette[counts.other++ % palette.length];
    var categorical = spec.kind === 'bar' || spec.kind === 'stack';
    var values = categorical ? new Array(spec.categories.length).fill(null) : [];
    var source = categorical ? new Array(spec.categories.length).fill(null) : series.points.slice();
    series.points.forEach(function (p) {
      if (!categorical) { values.push({ x: p[0], y: p[1] }); return; }
      values[p[0]] = spec.kind === 'stack' ? (values[p[0]] || 0) + p[1] : p[1];
      source[p[0]] = p;
    });
    // Past the last colour they begin again, with other markers.
    var marker = markers[(index + 3 * Math.floor(index / markers.length)) % markers.length];
    return {
      label: series.label, data: values, source: source, type: categorical ? 'bar' : 'line',
      showLine: spec.kind === 'line' || ceiling, tension: 0,
      backgroundColor: wait ? hatch(css('--soft')) : peer && !categorical ? 'transparent' : colour,
      borderColor: wait ? css('--soft') : colour, borderWidth: categorical ? (wait ? 1 : 0) : 2,
      borderDash: ceiling ? dashes[counts.ceiling++ % dashes.length] : [], pointStyle: ceiling ? 'line' : marker, pointRadius: ceiling ? 0 : 5, pointHoverRadius: 7,
      pointBorderWidth: 1.5, maxBarThickness: 46, order: ceiling ? 9 : 1
    };
  }

  function options(spec) {
    var grid = { color: css('--line') }, ticks = { color: css('--soft') }, narrow = innerWidth < 520;
    var categorical = spec.kind === 'bar' || spec.kind === 'stack';
    var isBytes = /bytes/.test(spec.x);
    var x = categorical
      ? { type: 'category', stacked: spec.kind === 'stack', grid: { display: false },
          ticks: Object.assign({ maxRotation: 60, autoSkip: false, font: { size: narrow ? 10 : 12 } }, ticks) }
      : { type: spec.xLog ? 'logarithmic' : 'linear', grid: grid, title: { display: true, text: spec.x, color: css('--soft') },
          ticks: Object.assign({ maxRotation: 0, maxTicksLimit: narrow ? 5 : 10, precision: /workers/.test(spec.x) ? 0 : undefined,
            callback: function (v) { return isBytes ? bytes(v) : number(v); } }, ticks) };
    if (isBytes) x.afterBuildTicks = function (axis) {
      var all = [];
      for (var b = 4; b <= axis.max * 1.01; b *= 4) if (b >= axis.min * 0.99) all.push({ value: b });
      axis.ticks = all;
    };
    return {
      spec: spec, animation: false, responsive: true, maintainAspectRatio: false,
      scales: {
        x: x,
        y: { type: spec.yLog ? 'logarithmic' : 'linear', beginAtZero: !spec.yLog, stacked: spec.kind === 'stack', grid: grid,
             suggestedMax: spec.line ? spec.line.y * 1.08 : undefined,
             title: { display: true, text: spec.y, color: css('--soft') },
             ticks: Object.assign({ callback: number, maxTicksLimit: narrow ? 5 : 8 }, ticks) }
      },
      plugins: {
        legend: { position: 'bottom', labels: { color: css('--ink'), usePointStyle: !categorical, boxWidth: 12, boxHeight: 10 } },
        tooltip: { callbacks: { label: function (item) {
          var p = item.dataset.source[item.dataIndex];
          return item.dataset.label + ': ' + number(item.parsed.y) + (p && p[4] && !categorical ? '  ' + p[4] : '');
        } } }
      }
    };
  }

  function draw(canvas) {
    var spec = JSON.parse(document.getElementById(canvas.dataset.chart).textContent);
    var counts = { tandem: 0, peer: 0, other: 0, ceiling: 0 };
    var sets = spec.series.map(function (series, i) { return dataset(spec, series, i, counts); });
    drawn.push(new Chart(canvas, { type: spec.kind === 'bar' || spec.kind === 'stack' ? 'bar' : 'line',
      data: { labels: spec.categories.length ? spec.categories : undefined, datasets: sets }, options: options(spec), plugins: [overlay] }));
    canvas.dataset.drawn = '1';
  }

  function drawAll() {
    drawn.forEach(function (chart) { chart.destroy(); });
    drawn = [];
    document.querySelectorAll('canvas[data-chart]').forEach(draw);
  }

  function key(row, column) {
    var cell = row.cells[column];
    if (cell.classList.contains('n')) return cell.dataset.v === undefined ? NaN : parseFloat(cell.dataset.v);
    return cell.textContent;
  }

  function sortable(table) {
    var heads = table.tHead.rows[0].cells;
    Array.prototype.forEach.call(heads, function (head, column) {
      var button = document.createElement('button');
      button.type = 'button';
      while (head.firstChild) button.appendChild(head.firstChild);
      head.appendChild(button);
      button.addEventListener('click', function () {
        var down = head.getAttribute('aria-sort') === 'ascending' || (head.classList.contains('n') && !head.hasAttribute('aria-sort'));
        Array.prototype.forEach.call(heads, function (other) { other.removeAttribute('aria-sort'); });
        head.setAttribute('aria-sort', down ? 'descending' : 'ascending');
        var rows = Array.from(table.tBodies[0].rows);
        rows.sort(function (a, b) {
          var x = key(a, column), y = key(b, column);
          if (typeof x === 'number') {
            if (isNaN(x) || isNaN(y)) return isNaN(x) - isNaN(y);
            return down ? y - x : x - y;
          }
          return down ? y.localeCompare(x) : x.localeCompare(y);
        });
        rows.forEach(function (row) { table.tBodies[0].appendChild(row); });
      });
    });
  }

  if (window.Chart) {
    Chart.defaults.font.family = getComputedStyle(document.body).fontFamily;
    drawAll();
    dark.addEventListener('change', drawAll);
  }
  document.querySelectorAll('table').forEach(sortable);
  // Print shows every table.
  addEventListener('beforeprint', function () {
    document.querySelectorAll('details').forEach(function (d) { d.dataset.was = d.open ? '1' : ''; d.open = true; });
  });
  addEventListener('afterprint', function () {
    document.querySelectorAll('details').forEach(function (d) { d.open = d.dataset.was === '1'; });
  });
}());
