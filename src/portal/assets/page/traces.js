// --- traces, log lines and metrics that programs have sent

const micros = time => time < 1000 ? time + ' µs' : time < 10000 ? (time / 1000).toFixed(1) + ' ms' : millis(Math.round(time / 1000))
const short = id => id.slice(0, 16)
const traceLink = id => el('a', { href: '#/traces/' + id, 'data-key': 'trace ' + id }, short(id))
const LEVELS = { error: 'bad', fatal: 'bad', warn: 'busy' }

function traces(place, what) {
  const known = { '': traceList, map: serviceMap, lines: lineList, metrics: metricList }
  const parts = [['', 'Traces'], ['map', 'Map'], ['lines', 'Log lines'], ['metrics', 'Metrics']]
  place.append(el('h2', {}, 'What programs have sent'), el('nav', { 'aria-label': 'Kinds' }, parts.map(([path, title]) =>
    el('a', { href: '#/traces' + (path && '/' + path), 'aria-current': what === path || (!path && !(what in known)) ? 'page' : false }, title))))
  if (what in known) place.append(opened('How programs send theirs', 'send', box => { if (!box.firstChild) connecting(box, '', way => way.title.includes('OTLP')) }).part)
  return (known[what] || (place => oneTrace(place, what)))(place)
}

// Asks again some time after each answer, and at once when something else is asked for. One that is slow keeps its turn.
function polled(path, wanted, show, apart = 3000) {
  let closed = false
  let running = 0
  let timer = 0
  async function look() {
    clearTimeout(timer)
    const number = ++running
    const answer = document.hidden && number > 1 ? null : await ask(path + '?' + query(wanted()), undefined, AbortSignal.timeout(30000)) || {}
    if (closed || number !== running) return
    // what a view cannot show does not end its looks
    try { if (answer) show(answer) } finally { timer = setTimeout(look, apart) }
  }
  let typing = 0
  const soon = () => { clearTimeout(typing); typing = setTimeout(look, 250) }
  look()
  return { soon, update() {}, close() { closed = true; clearTimeout(timer); clearTimeout(typing) } }
}

// Where programs send, and what is wrong with that.
function receiving(answer) {
  if (answer.error) return trouble(answer.error)
  const found = answer.state || { addresses: [], problems: [] }
  const http = found.addresses.filter(address => address.endsWith(':4318')).at(-1)
  const others = [['tempo', 'Tempo'], ['loki', 'Loki'], ['prometheus', 'Prometheus']].filter(([name]) => (answer.asked || {})[name])
  return [
    found.problems.map(problem => el('p', { class: 'why' }, problem)),
    http ? el('p', { class: 'soft' }, 'Programs send to ', el('code', {}, 'OTEL_EXPORTER_OTLP_ENDPOINT=http://' + http), copy('OTEL_EXPORTER_OTLP_ENDPOINT=http://' + http),
      ' (OTLP over HTTP or gRPC). ', found.size ? bytes(found.size) + (found.size === 1 ? ' is kept.' : ' are kept.') : 'Nothing is kept so far.') :
      others.length ? null : el('p', { class: 'soft' }, 'Nothing is taken here now: Tempo and Alloy are part of the platform, or it is down.'),
    others.length ? el('p', { class: 'soft' }, 'What is shown comes from ' + others.map(([name, title]) => title + ' (' + answer.asked[name] + ')').join(', ') + ' and from what is kept here.') : null,
  ]
}

// What was asked for in a list: in the address, for a link or a reload, and for whoever comes back to it.
const kept = {}
function keeps(...inputs) {
  const [path, behind] = location.hash.split('?')
  const asked = new URLSearchParams(behind || '')
  const write = () => {
    const all = new URLSearchParams()
    for (const input of inputs) if (kept[input.id]) all.set(input.id, kept[input.id] === true ? '1' : kept[input.id])
    const text = all.toString()
    history.replaceState(null, '', location.pathname + location.search + path + (text && '?' + text))
  }
  for (const input of inputs) {
    const what = input.type === 'checkbox' ? 'checked' : 'value'
    if (asked.has(input.id)) kept[input.id] = what === 'checked' ? asked.get(input.id) === '1' : asked.get(input.id)
    if (kept[input.id] !== undefined) input[what] = kept[input.id]
    const keep = () => { kept[input.id] = input[what]; write() }
    input.addEventListener('input', keep)
    input.addEventListener('change', keep)
  }
  write()
}
const some = values => Object.fromEntries(Object.entries(values).filter(([, value]) => value))
const field = (id, label, input) => [el('label', { for: id }, label), input]

function traceList(place) {
  const serviceName = el('input', { type: 'search', id: 'trace-service', placeholder: 'any', oninput: () => view.soon() })
  const slow = el('select', { id: 'trace-slow', onchange: () => view.soon() }, [['', 'any'], ['10', '10 ms'], ['100', '100 ms'], ['1000', '1 s'], ['10000', '10 s']].map(([value, text]) => el('option', { value }, text)))
  const failed = el('input', { type: 'checkbox', id: 'trace-failed', onchange: () => view.soon() })
  keeps(serviceName, slow, failed)
  const about = el('div')
  const box = el('div')
  place.append(about, el('div', { class: 'row' }, field('trace-service', 'Service', serviceName), field('trace-slow', 'At least', slow), el('label', {}, failed, ' failed')), box)
  return polled('/api/traces', () => some({ service: serviceName.value.trim(), slow: slow.value, errors: failed.checked && '1' }), answer => {
    put(about, [answer.state, answer.asked, answer.error], () => receiving(answer))
    const all = answer.traces || []
    put(box, [all, serviceName.value], () => !all.length ? el('p', { class: 'soft' }, serviceName.value.trim() ? 'No such trace of ' + serviceName.value.trim() + ' has come yet.' : 'No such trace has come yet.') : [simple('Traces', ['Trace', 'Started', 'Name', 'Services', 'Took', 'Spans', 'Failed'], all.map(one => [
      traceLink(one.trace), el('time', { datetime: one.start, title: one.start }, day(new Date(one.start)) === day(new Date()) ? clock(new Date(one.start)) : moment(new Date(one.start))), [el('b', {}, plain(one.service)), ' ', plain(one.name)], plain(one.services.join(', ')),
      micros(one.duration_us), String(one.spans), one.errors ? badge('bad', String(one.errors)) : '']))])
  })
}

const calls = (count, errors) => count + '×' + (errors ? ', ' + errors + ' failed' : '')

// Who calls whom.
function drawn(map, down) {
  const known = new Map(map.services.map(one => [one.service, one]))
  const names = [...new Set([...known.keys(), ...map.calls.flatMap(call => [call.from, call.to])])]
  const nodes = names.map(name => {
    const one = known.get(name) || { count: 0, errors: 0 }
    return { name, tone: one.errors ? 'failed' : '', href: '#/traces', lines: one.count ? [calls(one.count, one.errors), 'p95 ' + micros(one.p95_us)] : ['only calls others'] }
  })
  const edges = map.calls.map(call => ({ from: call.from, to: call.to, text: calls(call.count, call.errors), bad: call.errors, width: Math.min(1 + Math.log10(call.count) / 2, 3) }))
  return diagram(nodes, edges, down, 'Map of ' + count(names.length, 'service') + '; the tables below say the same')
}

// The list of traces, with this service in its filter.
const listed = name => { kept['trace-service'] = name }
const tracesOf = name => el('a', { href: '#/traces', 'data-key': 'traces of ' + name, onclick: () => listed(name) }, plain(name))

function serviceMap(place) {
  const about = el('div')
  const box = el('div')
  box.addEventListener('click', event => { const node = event.target.closest('[data-name]'); if (node) listed(node.getAttribute('data-name')) })
  place.append(about, box)
  return polled('/api/map', () => ({}), answer => {
    put(about, [answer.state, answer.asked, answer.error], () => receiving(answer))
    const map = answer.map || { services: [], calls: [], spans: 0, traces: 0 }
    const down = box.clientWidth < 640
    put(box, [map, down], () => !map.services.length ? el('p', { class: 'soft' }, 'No trace has come yet.') : [
      el('div', { class: 'scroll card', tabindex: '0', role: 'region', 'aria-label': 'Map of the services' }, drawn(map, down)),
      el('p', { class: 'soft' }, 'From ' + count(map.spans, 'span') + ' of ' + count(map.traces, 'trace') + ', the newest there are. A call is a span whose parent is of another service; its time is what the called service has measured.'),
      map.calls.length ? simple('Calls', ['From', 'To', 'Calls', 'Failed', 'p95'], map.calls.map(call => [tracesOf(call.from), tracesOf(call.to), String(call.count), call.errors ? badge('bad', String(call.errors)) : '0', micros(call.p95_us)])) : null,
      simple('Services', ['Service', 'Requests', 'Failed', 'p95'], map.services.map(one => [tracesOf(one.service), String(one.count), one.errors ? badge('bad', String(one.errors)) : '0', one.count ? micros(one.p95_us) : '']))])
  }, 10000)
}

const pairs = values => Object.entries(values).map(([name, value]) => [el('dt', {}, plain(name)), el('dd', {}, plain(typeof value === 'string' ? value : JSON.stringify(value)))])

function sentLines(lines, wanted) {
  return el('div', { class: 'log', tabindex: '0', role: 'log', 'aria-live': 'off', 'aria-label': 'Log lines' }, lines.map(line => {
    const text = plain(line.text)
    return el('div', {}, timeOf(line.time, true), ' ', line.level ? badge(LEVELS[line.level] || 'idle', line.level) : null, ' ', el('b', {}, plain(line.service)), ' ', marked(text, wanted),
      line.trace ? [' ', traceLink(line.trace)] : null)
  }))
}

function oneTrace(place, id) {
  const box = el('div')
  let open = null
  place.append(box)
  const show = answer => put(box, [answer.trace, answer.error, (answer.state || {}).problems], () => {
    const trace = answer.trace
    const problems = ((answer.state || {}).problems || []).map(problem => el('p', { class: 'why' }, problem))
    if (!trace) return [problems, answer.error ? trouble(answer.error) : el('p', { class: 'soft' }, 'There is no trace ' + id + ': it was removed as the oldest, or has not come yet.')]
    const whole = Math.max(trace.duration_us, 1)
    const about = el('li', { class: 'about' })
    const detail = (span, button) => {
      if (open) open.setAttribute('aria-expanded', 'false')
      about.remove()
      if (open === button) { open = null; return }
      open = button
      button.setAttribute('aria-expanded', 'true')
      button.closest('li').after(about)
      about.replaceChildren(el('div', { class: 'card' }, el('h3', {}, plain(span.service) + ': ' + plain(span.name)),
        span.error ? el('p', { class: 'why' }, 'failed ' + plain(span.message)) : null,
        el('dl', {}, el('dt', {}, 'took'), el('dd', {}, micros(span.duration_us) + ' from ' + micros(span.offset_us)), el('dt', {}, 'span'), el('dd', {}, span.span + ' ' + span.kind), pairs(span.attributes)),
        span.events.length ? [el('h3', {}, 'Events'), el('dl', {}, span.events.map(event => [el('dt', {}, micros(event.offset_us)), el('dd', {}, plain(event.name), ' ', el('dl', {}, pairs(event.attributes)))]))] : null,
        span.links.length ? el('p', {}, 'Links: ', span.links.map(one => [traceLink(one.trace), ' '])) : null,
        el('details', {}, el('summary', {}, 'Who has sent it'), el('dl', {}, el('dt', {}, 'library'), el('dd', {}, plain(span.scope)), pairs(span.resource)))))
    }
    return [
      problems,
      el('p', {}, 'Trace ', el('code', {}, trace.trace), copy(trace.trace), ' of ' + moment(new Date(trace.start)) + ' took ' + micros(trace.duration_us) + ' in ' + count(trace.spans.length, 'span') + ' of ' + plain(trace.services.join(', ')) + '.'),
      trace.calls.length ? el('p', { class: 'soft' }, 'Calls: ' + trace.calls.map(call => plain(call.from) + ' → ' + plain(call.to) + (call.count > 1 ? ' ×' + call.count : '')).join(', ')) : null,
      el('ol', { class: 'fall' }, trace.spans.map(span => {
        const bar = el('i', { class: span.error ? 'failed' : 'critical' })
        bar.style.left = Math.min(99.5, 100 * span.offset_us / whole) + '%'
        bar.style.width = Math.max(0.2, Math.min(100 - 100 * span.offset_us / whole, 100 * span.duration_us / whole)) + '%'
        const name = el('button', { type: 'button', class: 'span', 'aria-expanded': 'false', 'data-key': 'span ' + span.span, onclick: event => detail(span, event.currentTarget) }, el('b', {}, plain(span.service)), ' ', plain(span.name), span.error ? el('span', { class: 'why' }, ' failed' + (span.message ? ': ' + plain(span.message) : '')) : null)
        name.style.marginLeft = Math.min(span.depth, 12) * .6 + 'rem'
        return el('li', {}, el('span', { class: 'what' }, name), el('span', { class: 'soft' }, micros(span.duration_us)), el('span', { class: 'bar', 'aria-hidden': 'true' }, bar))
      })),
      el('h3', {}, 'Log lines'), trace.lines.length ? sentLines(trace.lines) : [el('p', { class: 'soft' }, 'None was sent with its id. In what services have written:'), command(typed('logs --grep ' + trace.trace))]]
  })
  return polled('/api/trace', () => ({ id }), show)
}

function lineList(place) {
  const search = el('input', { type: 'search', id: 'line-search', placeholder: 'all lines', oninput: () => view.soon() })
  const serviceName = el('input', { type: 'search', id: 'line-service', placeholder: 'any', oninput: () => view.soon() })
  const level = el('select', { id: 'line-level', onchange: () => view.soon() }, ANY_LEVEL.map(([value, text]) => el('option', { value }, text)))
  const since = el('select', { id: 'line-since', onchange: () => view.soon() }, [['', 'all'], ['300', '5 minutes'], ['3600', 'an hour'], ['86400', 'a day']].map(([value, text]) => el('option', { value }, text)))
  keeps(search, serviceName, level, since)
  const about = el('div')
  const box = el('div')
  place.append(about, el('div', { class: 'row' }, field('line-search', 'Search', search), field('line-service', 'Service', serviceName), field('line-level', 'At least', level), field('line-since', 'Since', since)), box)
  return polled('/api/lines', () => some({ search: search.value.trim(), service: serviceName.value.trim(), level: level.value, since: since.value }), answer => {
    put(about, [answer.state, answer.asked, answer.error], () => receiving(answer))
    const all = answer.lines || []
    // the newest are at the end; whoever has scrolled up stays there
    const old = box.querySelector('.log')
    const at = old && old.scrollHeight - old.clientHeight - old.scrollTop > 30 ? old.scrollTop : null
    put(box, [all, search.value.trim()], () => all.length ? sentLines(all, search.value.trim()) : el('p', { class: 'soft' }, 'No such line has come yet. What containers write is on the page of their service.'))
    const log = box.querySelector('.log')
    if (log && log !== old) log.scrollTop = at === null ? log.scrollHeight : at
  })
}
