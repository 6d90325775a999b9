// --- the last runs of up

// The parts of a run in their order. One that is no step is waited for by all; between them there may be time of which
// nothing is written down.
function parted(run, whole) {
  const all = run.spans.map(span => ({ ...span, critical: span.critical || !span.group })).sort((one, other) => one.start_ms - other.start_ms)
  const found = []
  let until = 0
  for (const span of [...all, { start_ms: whole, took_ms: 0, end: true }]) {
    if (span.start_ms - until > whole / 50) found.push({ name: 'other work', cause: '', start_ms: until, took_ms: span.start_ms - until, critical: true })
    if (!span.end) found.push(span)
    until = Math.max(until, span.start_ms + span.took_ms)
  }
  return found
}

// What all names of a platform begin with says nothing here.
const briefly = name => plain(name).replace(platform() === 'macula' ? 'macula-' : 'macula-' + platform() + '-', '')

function step(span, whole) {
  const bar = el('i', { class: span.error ? 'failed' : span.critical ? 'critical' : '' })
  bar.style.left = Math.min(99.5, 100 * span.start_ms / whole) + '%'
  bar.style.width = Math.max(0.2, Math.min(100 - 100 * span.start_ms / whole, 100 * span.took_ms / whole)) + '%'
  const about = [span.name, span.cause, span.error].filter(Boolean).map(plain).join(': ')
  return el('li', {}, el('span', { class: 'what', title: about }, briefly(span.name), span.error ? el('span', { class: 'why' }, ' ' + plain(span.error)) : null),
    el('span', { class: 'soft' }, millis(span.took_ms)), el('span', { class: 'bar', 'aria-hidden': 'true' }, bar))
}

function runs(place) {
  const box = el('div')
  place.append(el('h2', {}, 'The last runs of up'), box)
  // the one that is looked at; empty: the latest
  let chosen = ''
  const idOf = run => run.began + ' ' + run.took_ms
  let all = []
  let error = null
  const show = () => put(box, [all, chosen, error], () => {
    if (error) return trouble(error)
    if (!all.length) return el('p', { class: 'soft' }, 'No run is recorded yet. The next one that changes something is.')
    // each later one moves it down
    const run = all.find(one => idOf(one) === chosen) || all[0]
    const whole = Math.max(run.took_ms, 1)
    const least = Math.max(20, Math.round(whole / 100))
    const spans = parted(run, whole)
    // what nobody waited for is of interest only where it took long
    const isBrief = span => !span.error && span.took_ms < (span.critical ? least : whole / 10)
    const [long, brief] = [spans.filter(span => !isBrief(span)), spans.filter(isBrief)]
    return [
      el('div', { class: 'row' }, el('label', { for: 'run' }, 'Run'), el('select', { id: 'run', 'data-key': 'run', onchange: event => { chosen = event.target.value === idOf(all[0]) ? '' : event.target.value; show() } },
        all.map(one => el('option', { value: idOf(one), selected: one === run }, moment(new Date(one.began * 1000)) + ', ' + millis(one.took_ms) + (one.error ? ', failed' : ''))))),
      el('p', {}, run.command + ' took ' + millis(run.took_ms) + '. ', el('span', { class: 'soft' }, 'Blue steps decided how long: each waited for the one before it.')),
      run.error ? el('p', { class: 'why' }, plain(run.error)) : null,
      run.left_out.length ? el('p', {}, 'Left out: ' + run.left_out.join(', ')) : null,
      el('ol', { class: 'fall' }, long.map(span => step(span, whole))),
      brief.length ? el('details', {}, el('summary', {}, count(brief.length, 'other step') + ', short or at the same time as these'), el('ol', { class: 'fall' }, brief.map(span => step(span, whole)))) : null]
  })
  return polled('/api/runs', () => ({}), kept => {
    // what is there stays while nobody answers
    if (!kept.error || !all.length) { all = kept.runs || []; error = kept.error }
    show()
  }, 5000)
}
