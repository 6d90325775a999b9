// --- metrics

const number = value => Number(value.toPrecision(6)).toLocaleString('en-US', { maximumSignificantDigits: 6 })
const labels = one => plain(Object.entries(one.attributes).map(([name, value]) => name + '=' + value).join(' '))

// Those of a scale: about so many, a whole step apart; `unit`: in which steps are whole.
function ticks(least, most, count, unit) {
  if (unit > 1) return ticks(least / unit, most / unit, count, 1).map(at => at * unit)
  const rough = (most - least) / count
  const size = 10 ** Math.floor(Math.log10(rough))
  const step = [1, 2, 5, 10].map(one => one * size).find(one => one >= rough)
  const found = []
  for (let at = Math.ceil(least / step - 1e-9); at * step <= most + step * 1e-9; at++) found.push(at * step)
  return found
}

const SPANS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600].map(seconds => seconds * 1000)
const MOST_CURVES = 12
// no two of twelve have the same color and the same dashes
const curveOf = at => 'curve' + at % 6 + ' dash' + at % 4
const inBytes = one => one.unit === 'By' || /byte/i.test(one.name)
const shownAs = (one, value) => inBytes(one) ? (value < 0 ? '-' : '') + bytes(Math.abs(value)) : number(value) + (one.unit && one.unit !== '1' ? ' ' + plain(one.unit) : '')
const named = one => [plain(one.service), labels(one)].filter(Boolean).join(' ') || plain(one.name)

// Curves in one picture, with the time and the values where one points, or where the slider is.
// kept: {at}, the time that was chosen; it stays when newer values come.
function curves(all, width, kept, key) {
  const shown = all.slice(0, MOST_CURVES)
  const times = [...new Set(shown.flatMap(one => one.times))].sort((one, other) => one - other)
  const values = shown.flatMap(one => one.values)
  const [w, h, left, bottom] = [Math.max(width, 280), 200, 64, 24]
  let [from, until] = [times[0], times.at(-1)]
  if (until - from < 60000) from = until - 60000
  let [least, most] = [Math.min(0, ...values), Math.max(...values)]
  if (most === least) most = least + 1
  const x = time => left + (w - left - 10) * (time - from) / (until - from)
  const y = value => 8 + (h - bottom - 8) * (1 - (value - least) / (most - least))
  const apart = SPANS.find(one => (until - from) / one <= Math.max(2, w / 110)) || SPANS.at(-1)
  const marks = []
  // whole steps of the browser's clock
  const zone = new Date(until).getTimezoneOffset() * 60000
  for (let at = Math.ceil((from - zone) / apart) * apart + zone; at <= until; at += apart) marks.push(at)
  const text = time => apart < 60000 ? clock(new Date(time)) : clock(new Date(time)).slice(0, 5)
  const line = svg('line', { class: 'cursor', y1: 8, y2: h - bottom })
  const picture = svg('svg', { class: 'curves', viewBox: [0, 0, w, h].join(' '), width: w, height: h, 'aria-hidden': 'true' },
    ticks(least, most, 6, inBytes(shown[0]) ? 1024 ** Math.floor(Math.log(Math.max(most, 1)) / Math.log(1024)) : 1).map(value => [svg('line', { class: 'grid', x1: left, x2: w - 10, y1: y(value), y2: y(value) }), svg('text', { x: left - 6, y: y(value) + 4, 'text-anchor': 'end' }, shownAs(shown[0], value))]),
    marks.map(time => [svg('line', { class: 'grid', x1: x(time), x2: x(time), y1: h - bottom, y2: h - bottom + 4 }), svg('text', { x: Math.min(x(time), w - 18), y: h - 6, 'text-anchor': 'middle' }, text(time))]),
    shown.map((one, at) => svg('polyline', { class: curveOf(at), points: one.values.map((value, number) => x(one.times[number]).toFixed(1) + ',' + y(value).toFixed(1)).join(' ') })),
    shown.map((one, at) => one.values.length === 1 ? svg('circle', { class: curveOf(at), cx: x(one.times[0]), cy: y(one.values[0]), r: 3 }) : null), line)
  const said = el('p', { class: 'readout' })
  const slider = el('input', { type: 'range', class: 'wide', min: 0, max: times.length - 1, step: 1, 'aria-label': 'Time', 'data-key': 'time ' + key })
  const nearest = time => times.reduce((best, one, at) => Math.abs(one - time) < Math.abs(times[best] - time) ? at : best, 0)
  const go = at => {
    const time = times[at]
    slider.value = at
    line.setAttribute('x1', x(time))
    line.setAttribute('x2', x(time))
    const found = shown.map((one, number) => {
      // the last one that was known then
      const last = one.times.findLastIndex(other => other <= time)
      return last < 0 || time - one.times[last] > 300000 ? null : [number, one, one.values[last]]
    }).filter(Boolean)
    slider.setAttribute('aria-valuetext', [clock(new Date(time)), ...found.map(([, one, value]) => named(one) + ' ' + shownAs(one, value))].join(', '))
    said.replaceChildren(el('b', {}, clock(new Date(time))), ...found.flatMap(([number, one, value]) => [' ', el('span', { class: 'one' }, dot(number), named(one) + ' ', el('b', {}, shownAs(one, value)))]))
  }
  const choose = at => { kept.at = at === times.length - 1 ? null : times[at]; go(at) }
  slider.addEventListener('input', () => choose(Number(slider.value)))
  picture.addEventListener('pointermove', event => {
    const box = picture.getBoundingClientRect()
    go(nearest(from + (until - from) * ((event.clientX - box.left) * w / box.width - left) / (w - left - 10)))
  })
  const back = () => go(kept.at ? nearest(kept.at) : times.length - 1)
  picture.addEventListener('pointerleave', back)
  back()
  return el('div', { class: 'card chart' }, picture, el('div', { class: 'row' }, slider), said,
    all.length > MOST_CURVES ? el('p', { class: 'soft' }, 'The first ' + MOST_CURVES + ' of ' + all.length + '.') : null)
}

const dot = at => svg('svg', { class: 'dot', viewBox: '0 0 24 8', 'aria-hidden': 'true' }, svg('line', { class: curveOf(at), x1: 0, x2: 24, y1: 4, y2: 4 }))

function metricList(place) {
  const box = el('div')
  const about = el('div')
  const names = el('datalist', { id: 'metric-names' })
  const chosen = el('select', { id: 'metric-usual', onchange: () => { if (chosen.value) { typed.value = chosen.value; typed.dispatchEvent(new Event('change')) } } })
  const typed = el('input', { type: 'search', id: 'metric-expression', list: 'metric-names', class: 'wide', onchange: () => view.soon() })
  const form = el('div', { class: 'row', hidden: true }, field('metric-usual', 'Show', chosen), field('metric-expression', 'PromQL', typed), names)
  const pictures = el('div')
  const sent = el('select', { id: 'metric-sent', onchange: () => show() })
  const sentForm = el('div', { class: 'row', hidden: true }, field('metric-sent', 'Metric', sent))
  const sentPictures = el('div')
  keeps(typed, sent)
  const times = [{}, {}]
  let last = {}
  place.append(about, form, pictures, sentForm, sentPictures, box)

  const wide = () => Math.min(place.clientWidth, 1200) - 34
  function show() {
    const answer = last
    put(about, [answer.state, answer.asked, answer.error], () => receiving(answer))
    form.hidden = !answer.usual
    if (answer.usual) {
      put(names, answer.names, () => answer.names.map(name => el('option', { value: name })))
      put(chosen, answer.usual, () => [...answer.usual.map(one => el('option', { value: one.expression }, one.title)), el('option', { value: '' }, 'what is typed')])
      if (!typed.value && document.activeElement !== typed) typed.value = answer.expression
      const usual = answer.usual.find(one => one.expression === answer.expression)
      if (document.activeElement !== chosen) chosen.value = usual ? answer.expression : ''
      const wrong = ((answer.state || {}).problems || []).length
      put(pictures, [answer.series, answer.expression, wrong, wide()], () => !answer.series.length ?
        wrong ? [] : el('p', { class: 'soft' }, 'Prometheus has nothing of that within the last hour.' + (usual ? ' It needs ' + usual.needs + '.' : '')) :
        [curves(answer.series, wide(), times[0], 'prometheus'), simple('Prometheus', ['Service', 'Metric', 'Labels', 'Last', 'Course'], answer.series.map((one, at) =>
          [[at < MOST_CURVES ? dot(at) : null, plain(one.service) || '(all)'], plain(one.name), labels(one), shownAs(one, one.value), chart(one.values.slice(-60), one.name)]))])
    }
    const all = answer.metrics || []
    const known = [...new Set(all.map(one => one.name))]
    sentForm.hidden = !known.length
    put(sent, known, () => known.map(name => el('option', { value: name, selected: name === kept['metric-sent'] }, name)))
    const these = all.filter(one => one.name === sent.value)
    put(sentPictures, [these, wide()], () => these.length ? curves(these, wide(), times[1], 'sent') : [])
    put(box, [all, !!answer.usual, sent.value], () => all.length ? simple('Metrics that programs have sent within the last hour; of a histogram its mean', ['Service', 'Metric', 'Attributes', 'Last', 'Course'], all.map(one => [
      [one.name === sent.value && these.indexOf(one) < MOST_CURVES ? dot(these.indexOf(one)) : null, plain(one.service)], plain(one.name), labels(one), shownAs(one, one.value), chart(one.values.slice(-60), one.name)])) :
      answer.usual ? [] : el('p', { class: 'soft' }, 'No program has sent a metric within the last hour.'))
  }
  return polled('/api/metrics', () => some({ expression: typed.value.trim() }), answer => { last = answer; show() }, 5000)
}
