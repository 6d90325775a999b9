// The page of a platform. Whatever comes from outside (names, labels, logs) is put in as text, never as HTML.
'use strict'

const $ = id => document.getElementById(id)
const NO_COLORS = /\x1b\[[0-9;:?<=>]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]|[\x00-\x08\x0b-\x1f\x7f]/g
const plain = text => text.replace(NO_COLORS, '')
const KEY = 'macula-key'
const MOST_LINES = 5000

let state = null // the last state that came
let connected = false
let allowed = false
let view = null // what is shown: {path, update, close}
const used = new Map() // service -> the last values of CPU and memory

// --- building blocks

function el(tag, props, ...children) {
  const made = document.createElement(tag)
  for (const [name, value] of Object.entries(props || {})) {
    if (value === undefined || value === null || value === false) continue
    if (name.startsWith('on')) made.addEventListener(name.slice(2), value)
    else if (name === 'class') made.className = value
    else made.setAttribute(name, value === true ? '' : value)
  }
  made.append(...children.flat(9).filter(child => child !== null && child !== undefined && child !== false))
  return made
}

// Puts new content in only when it is other than what is there: what has the focus or is selected stays.
function put(place, signature, build) {
  const text = JSON.stringify(signature)
  if (place.signature === text) return
  place.signature = text
  const key = place.contains(document.activeElement) && document.activeElement.getAttribute('data-key')
  place.replaceChildren(...[build()].flat(9).filter(child => child !== null && child !== undefined && child !== false))
  if (key) for (const found of place.querySelectorAll('[data-key]')) if (found.getAttribute('data-key') === key) found.focus()
}

// Times of the browser's zone, in 24 hours; the zone stands in the footer.
const two = number => String(number).padStart(2, '0')
const clock = date => [date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join(':')
const day = date => date.getFullYear() + '-' + two(date.getMonth() + 1) + '-' + two(date.getDate())
const moment = date => day(date) + ' ' + clock(date)
const timeOf = (text, millis) => {
  const date = new Date(text)
  return el('time', { datetime: text, title: text }, Number.isNaN(date.getTime()) ? text.slice(11, 19) : clock(date) + (millis ? '.' + String(date.getMilliseconds()).padStart(3, '0') : ''))
}
const count = (number, one, several) => number + ' ' + (number === 1 ? one : several || one + 's')

const decoded = text => { try { return decodeURIComponent(text) } catch { return text } }
const say = text => { $('said').textContent = text }

function copy(text, what) {
  return el('button', { class: 'copy', type: 'button', 'data-key': 'copy ' + text, 'aria-label': 'Copy ' + (what || text), onclick: async event => {
    const button = event.currentTarget
    try {
      await navigator.clipboard.writeText(text)
      button.textContent = 'copied'
      say(text + ' copied')
    } catch {
      button.textContent = 'not copied'
    }
    setTimeout(() => { button.textContent = 'copy' }, 1500)
  } }, 'copy')
}

// What hints and findings put in backticks is to be typed.
const rich = text => plain(text).split('`').map((part, at) => at % 2 ? [el('code', {}, part), /^(sudo |macula )/.test(part) ? copy(part) : null] : part)
const command = text => el('p', {}, el('code', {}, text), copy(text))
const typed = words => (platform() === 'macula' ? 'macula ' : 'macula --name ' + platform() + ' ') + words
const badge = (mood, text) => el('span', { class: 'state ' + mood }, text)
const service = name => el('a', { href: '#/service/' + encodeURIComponent(name), 'data-key': 'service ' + name }, name)
// only addresses of the web are links
const link = url => /^https?:\/\//.test(url) ? el('a', { href: url, rel: 'noreferrer', 'data-key': url }, url) : url

function age(seconds) {
  if (seconds === null || seconds === undefined) return ''
  const units = [[86400, 'd'], [3600, 'h'], [60, 'm']]
  for (const [size, unit] of units) if (seconds >= size) return Math.floor(seconds / size) + unit
  return seconds + 's'
}

// what stands where a change every second would only disturb
const minutes = seconds => seconds === null || seconds === undefined ? '' : seconds < 60 ? 'less than a minute' : age(seconds)

function bytes(count) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  let at = 0
  while (count >= 1024 && at < units.length - 1) { count /= 1024; at++ }
  return (count < 10 && at > 0 ? count.toFixed(1) : Math.round(count)) + ' ' + units[at]
}

const millis = time => time < 1000 ? time + ' ms' : time < 60000 ? (time / 1000).toFixed(1) + ' s' : Math.floor(time / 60000) + 'm' + String(Math.round(time / 1000) % 60).padStart(2, '0') + 's'

const MOODS = {
  healthy: ['good', 'healthy'], running: ['good', 'running'], finished: ['good', 'done'], starting: ['busy', 'starting'],
  restarting: ['bad', 'restarting'], unhealthy: ['bad', 'unhealthy'], crashed: ['bad', 'crashed'], out_of_memory: ['bad', 'out of memory'],
  created: ['bad', 'never started'], paused: ['idle', 'paused'], stopped: ['idle', 'stopped'], missing: ['idle', 'not started'],
  left_out: ['idle', 'left out'], unclaimed: ['idle', 'in no stack'],
}
const DOING = { start: 'starting …', stop: 'stopping …', restart: 'restarting …' }
// what this page does or has done, until a look from after it has come: service -> {mood, turns, held}
const done = new Map()
const mood = row => {
  const doing = ((state && state.acting) || {})[row.name]
  return (done.get(row.name) || {}).mood || (doing ? ['busy', DOING[doing]] : MOODS[row.condition] || ['idle', row.condition])
}
// something is done to it, or just was: what was the matter before says nothing now
const changing = row => done.has(row.name) || !!((state && state.acting) || {})[row.name]
// what it needs and what does not run
const lacks = row => ((state && state.lacking) || {})[row.name] || []
const lacking = row => lacks(row).length ? 'needs ' + lacks(row).join(', ') + (lacks(row).length > 1 ? ', which do not run' : ', which does not run') : ''
// as `macula status` and `macula ls` count: a job that is done does not run
const isUp = row => row.condition === 'unclaimed' ? row.state === 'running' : ['healthy', 'running', 'starting'].includes(row.condition)
const needed = row => Object.values((state && state.lacking) || {}).some(names => names.includes(row.name))
// What is wrong first, then what was stopped, then the user's own.
const rank = row => {
  const [tone] = mood(row)
  return tone === 'bad' ? 0 : row.condition === 'stopped' || row.condition === 'paused' || lacks(row).length ? 1 : tone === 'busy' ? 2 : row.own ? 3 : tone === 'good' ? 4 : 5
}
// Jobs that are done, and what nobody has started: shown when asked for.
const quiet = row => row.condition === 'finished' || (row.condition === 'missing' && !row.own)

// An error of a command, with what to type.
function trouble(error) {
  if (!error) return []
  return [
    el('p', {}, el('strong', {}, rich(error.message || 'something went wrong'))),
    (error.details || []).map(line => el('p', {}, rich(line))),
    (error.causes || []).map(line => el('p', { class: 'soft' }, plain(line))),
    (error.hints || []).map(line => el('p', {}, rich(line))),
    (error.try || []).map(command),
  ]
}

// The same for what is drawn.
function svg(tag, props, ...children) {
  const made = document.createElementNS('http://www.w3.org/2000/svg', tag)
  for (const [name, value] of Object.entries(props || {})) if (value !== null && value !== undefined) made.setAttribute(name, value)
  made.append(...children.flat(9).filter(child => child !== null && child !== undefined && child !== false))
  return made
}

function chart(values, what) {
  const most = Math.max(...values, what === 'cpu' ? 5 : 1)
  const points = values.map((value, at) => (60 - values.length + at) + ',' + (9.5 - 9 * value / most).toFixed(2)).join(' ')
  return svg('svg', { class: 'chart', viewBox: '0 0 59 10', preserveAspectRatio: 'none', 'aria-hidden': 'true' }, svg('polyline', { points }))
}

// --- talking to the background process

const platform = () => new URLSearchParams(location.search).get('platform') || 'macula'
const query = more => new URLSearchParams({ platform: platform(), ...more }).toString()
const key = () => { try { return localStorage.getItem(KEY) || '' } catch { return '' } }

async function ask(path, options) {
  const headers = { 'x-macula-key': key(), ...(options && options.body ? { 'content-type': 'application/json' } : {}) }
  let answer
  try {
    // a network of the engine that comes or goes ends what a browser is loading
    answer = await fetch(path, { ...options, headers }).catch(failure => {
      if (options) throw failure
      return new Promise(wait => setTimeout(wait, 500)).then(() => fetch(path, { headers }))
    })
  } catch {
    return { error: { message: 'the background process does not answer', try: ['macula open home'] } }
  }
  try {
    return await answer.json()
  } catch {
    return { error: { message: 'the background process answered ' + answer.status } }
  }
}

const post = (path, body) => ask(path, { method: 'POST', body: JSON.stringify(body) })

let source = null
let again = 0

// A tab that nobody sees reads nothing: a browser opens only six connections to an address.
function connect() {
  clearTimeout(again)
  if (source) source.close()
  source = null
  if (document.hidden) return
  const opened = new EventSource('/api/events?' + query())
  source = opened
  opened.addEventListener('state', event => {
    connected = true
    state = JSON.parse(event.data)
    for (const [name, one] of done) if (!one.held && !(state.acting || {})[name]) done.delete(name)
    for (const row of (state.status || {}).services || []) {
      if (!row.usage) { used.delete(row.name); continue }
      const known = used.get(row.name) || { cpu: [], memory: [] }
      known.cpu = [...known.cpu, row.usage.cpu_percent].slice(-60)
      known.memory = [...known.memory, row.usage.memory].slice(-60)
      used.set(row.name, known)
    }
    render()
  })
  opened.addEventListener('error', () => {
    connected = false
    render()
    if (opened.readyState === EventSource.CLOSED && source === opened) again = setTimeout(connect, 2000)
  })
}

// --- the frame

const SECTIONS = [['', 'Services'], ['up', 'Last up'], ['traces', 'Traces'], ['names', 'Names'], ['doctor', 'Doctor']]

function frame() {
  const here = location.hash.replace(/^#\//, '').split('/')[0]
  put($('nav'), here, () => SECTIONS.map(([path, title]) =>
    el('a', { href: '#/' + path, 'data-key': 'nav ' + path, 'aria-current': here === path || (here === 'service' && path === '') ? 'page' : false }, title)))
  const rows = (state && state.platforms) || []
  put($('platforms'), [rows.map(row => [row.name, row.state]), platform()], () => {
    const names = rows.some(row => row.name === platform()) ? rows : [...rows, { name: platform(), state: 'unknown' }]
    return names.map(row => el('option', { value: row.name, selected: row.name === platform() }, row.name + ' (' + row.state + ')'))
  })
  $('chooser').hidden = rows.length < 2
  $('name').textContent = platform()
  const failing = ((state && state.status) || { services: [] }).services.filter(row => mood(row)[0] === 'bad').length
  document.title = (failing ? failing + ' failing · ' : '') + titled().concat(platform(), 'Macula').join(' · ')
  $('live').textContent = connected ? 'live' : state ? 'no connection; trying again …' : 'connecting …'
  $('live').className = connected || !state ? '' : 'lost'
  $('version').textContent = state ? 'macula ' + state.version + ' · ' + location.host + ' · times in ' + Intl.DateTimeFormat().resolvedOptions().timeZone : ''
  put($('problem'), [connected, state && state.problem, state && state.platforms && state.platforms.length, state && !!state.status, platform()], () => {
    if (!connected && state) return [
      el('p', {}, el('strong', {}, 'The background process does not answer.')),
      el('p', {}, 'It ends with the last platform. What is shown below is as it was. To start it again:'), command('macula open home')]
    if (!state) return []
    if (state.problem) return trouble(state.problem)
    if (!state.status) return [
      el('p', {}, el('strong', {}, 'There is no platform called ' + platform() + '.')),
      el('p', {}, 'Start it in the folder of your project:'),
      command(typed('up'))]
    return []
  })
}

// What tells this tab from others.
function titled() {
  const [path, what] = location.hash.replace(/^#\/?/, '').split('/').map(decoded)
  if (path === 'service') return [what || 'Services']
  if (path === 'traces' && what) return [{ map: 'Map', lines: 'Log lines', metrics: 'Metrics' }[what] || 'Trace ' + short(what)]
  return [(SECTIONS.find(([section]) => section === path) || SECTIONS[0])[1]]
}

function render() {
  frame()
  if (view && state) view.update()
}

function route(moved) {
  const parts = location.hash.replace(/^#\/?/, '').split('/').map(decoded)
  if (parts[0] === 'enter') return enter(parts[1])
  if (view && view.close) view.close()
  const place = $('view')
  place.replaceChildren()
  const views = { '': overview, service: () => detail(place, parts[1] || ''), up: runs, traces: () => traces(place, parts[1] || ''), names, doctor }
  view = (views[parts[0]] || overview)(place)
  render()
  if (!moved) return
  // whoever came by the keyboard is where the new content begins
  const head = place.querySelector('h2') || $('main')
  head.tabIndex = -1
  head.focus({ preventScroll: true })
  scrollTo(0, 0)
}

async function enter(ticket) {
  history.replaceState(null, '', location.pathname + location.search + '#/')
  const answer = await post('/api/enter', { ticket })
  if (answer.key) {
    try { localStorage.setItem(KEY, answer.key) } catch { /* for this visit nothing can be changed */ }
  } else {
    say((answer.error || {}).message || '')
  }
  await permission()
  route()
}

const move = () => route(true)

async function permission() {
  const answer = await ask('/api/allowed')
  allowed = answer.allowed === true
}

// --- services

function overview(place) {
  const facts = el('div', { class: 'card facts' })
  const notes = el('div')
  const filter = el('input', { type: 'search', id: 'filter', placeholder: 'filter', oninput: () => render() })
  const body = el('tbody')
  const heads = ['Service', 'State', 'Addresses', 'Image', 'CPU', 'Memory', 'Restarts']
  const table = el('table', { class: 'services' }, el('caption', { class: 'out-of-sight' }, 'Services'),
    el('thead', {}, el('tr', {}, heads.map(title => el('th', { scope: 'col' }, title)))), body)
  const search = el('p', {}, el('label', { for: 'filter' }, 'Services '), filter)
  const more = el('div')
  const out = el('div')
  const rest = el('div')
  let all = false
  const waits = el('p', { class: 'soft' }, 'Looking at the platform …')
  for (const part of [facts, search, table]) part.hidden = true
  place.append(el('h2', { class: 'out-of-sight' }, 'Services'), waits, facts, notes, search, el('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': 'Services' }, table), more, out, rest)
  const rows = new Map()
  return { update() {
    const status = state.status
    waits.hidden = true
    for (const part of [facts, notes, search, table, more, out]) part.hidden = !status
    if (status) {
      summary(facts, notes, status)
      const wanted = filter.value.trim().toLowerCase()
      const found = status.services.filter(row => !wanted || (row.name + ' ' + row.stack + ' ' + (row.image || '')).toLowerCase().includes(wanted))
      const folded = all || wanted ? [] : found.filter(quiet)
      const services = found.filter(row => row.condition !== 'left_out' && !folded.includes(row))
        .map((row, at) => [rank(row) * 10000 + at, row])
        .sort((one, other) => one[0] - other[0]).map(([, row]) => row)
      const jobs = status.services.filter(quiet)
      put(more, [folded.length, all, jobs.length, wanted, found.length], () => wanted ?
        found.length ? null : el('p', { class: 'soft' }, 'No service has “' + filter.value.trim() + '” in its name, its stack or its image.') :
        jobs.length ? el('p', {}, el('button', { type: 'button', 'data-key': 'more', 'aria-expanded': String(all), onclick: () => { all = !all; render() } },
          (all ? 'Hide ' : 'Show ') + [[jobs.filter(row => row.condition === 'finished').length, 'done'], [jobs.filter(row => row.condition === 'missing').length, 'not started']].filter(([number]) => number).map(([number, word]) => number + ' ' + word).join(' and '))) : null)
      const gone = found.filter(row => row.condition === 'left_out')
      put(out, gone.map(row => [row.name, row.reason]), () => {
        const causes = new Map()
        for (const row of gone) causes.set(row.reason || '', [...(causes.get(row.reason || '') || []), row.name])
        return gone.length ? el('div', { class: 'card' }, el('p', {}, badge('idle', 'left out'), ' ', count(gone.length, 'service')), [...causes].map(([reason, names]) =>
          el('p', { class: 'soft' }, names.map((name, at) => [at ? ', ' : '', service(name)]), reason ? ': ' : '', rich(reason)))) : null
      })
      const shown = new Set(services.map(row => row.name))
      for (const [name, row] of rows) if (!shown.has(name)) { row.remove(); rows.delete(name) }
      let before = null
      for (const found of services) {
        if (!rows.has(found.name)) rows.set(found.name, el('tr', {}, el('th', { scope: 'row' }), heads.slice(1).map((title, at) =>
          el('td', { 'data-title': title, class: at > 2 ? 'number' : '' }))))
        const row = rows.get(found.name)
        fill(row, found)
        const place = before ? before.nextSibling : body.firstChild
        if (place !== row) body.insertBefore(row, place)
        before = row
      }
    }
    rest.hidden = !!filter.value.trim() && !!status
    put(rest, [state.programs, status && status.processes, status && status.cluster, state.platforms, !!state.problem], () => others(status))
  } }
}

// Whether a browser of this machine gets the platform's names.
const reaches = status => status.dns.installed && status.dns.healthy && !status.dns.off
// An address below the domain is no link while nothing here can open it.
const address = url => {
  const domain = state.status && state.status.platform.domain
  const below = domain && /^https?:/.test(url) && (new RegExp('[/.]' + domain.replace(/[.]/g, '[.]') + '(:[0-9]+)?(/|$)')).test(url)
  return el('span', { class: 'address' }, below && !reaches(state.status) ? el('span', { title: 'this name does not resolve on this machine' }, url) : link(url), copy(url))
}

function summary(facts, notes, status) {
  const count = wanted => status.services.filter(row => mood(row)[0] === wanted).length
  const running = status.services.filter(isUp).length
  const stopped = status.services.filter(row => row.condition === 'stopped').length
  const away = !status.platform.down && !status.platform.owner && !reaches(status)
  const signature = [{ ...status.platform, up_seconds: minutes(status.platform.up_seconds) }, running, stopped, count('bad'), count('busy'), status.dns, state.folder, allowed, status.changes, status.drift]
  put(facts, signature, () => {
    const fact = (title, value) => value ? el('span', {}, title + ' ', el('b', {}, value)) : null
    const dns = status.dns.off ? 'off' : status.dns.healthy ? (status.dns.installed ? 'names work' : 'not installed on this machine') : 'not answering'
    return [
      fact('Domain', status.platform.domain), fact('Up', minutes(status.platform.up_seconds)),
      fact('Running', String(running)), fact('of them starting', count('busy') ? String(count('busy')) : ''), fact('Failing', count('bad') ? String(count('bad')) : ''), fact('Stopped', stopped ? String(stopped) : ''),
      fact('DNS', dns), fact('Folder', state.folder || ''),
    ]
  })
  put(notes, signature, () => [
    status.platform.down ? el('div', { class: 'card' }, el('p', {}, 'The platform is down.'), command(typed('up'))) : null,
    status.platform.owner ? el('p', { class: 'why' }, 'It belongs to ' + status.platform.owner + '.') : null,
    status.dns.problem ? el('p', { class: 'why' }, 'Names: ', rich(status.dns.problem)) : null,
    away && !status.dns.problem ? el('p', {}, 'Names below ' + status.platform.domain + ' do not resolve on this machine' + (status.dns.off ? ': up --no-dns left them out. ' : status.dns.address ? status.dns.healthy ? ' yet. Once for all platforms: ' : ': the resolver does not answer. ' : ': the resolver does not run. '),
      rich('`' + (status.dns.off ? typed('up --dns') : !status.dns.address ? typed('up') : status.dns.healthy ? 'macula dns install' : 'macula dns status') + '`')) : null,
    status.changes.length && !status.platform.down ? el('details', { class: 'card' },
      el('summary', {}, 'An up would change ' + status.changes.join(', ')), status.drift.map(line => el('p', {}, el('code', {}, line))), command(typed('plan'))) : null,
    allowed ? null : el('p', { class: 'soft' }, 'This browser can only look. To start and stop services here: ', el('code', {}, 'macula open home'), copy('macula open home')),
  ])
}

function fill(row, found) {
  const [name, now, addresses, image, cpu, memory, restarts] = row.children
  put(name, [found.name, found.stack], () => [service(found.name), el('div', { class: 'soft' }, found.stack)])
  const [tone, word] = mood(found)
  put(now, [tone, word, age(found.seconds), found.reason, lacks(found), needed(found)], () => [
    badge(tone === 'idle' && needed(found) ? 'busy' : tone, word), ' ', el('span', { class: 'soft' }, age(found.seconds)),
    found.reason && !changing(found) ? el('div', { class: tone === 'bad' ? 'why' : 'soft' }, rich(found.reason)) : null,
    lacks(found).length ? el('div', { class: 'why' }, lacking(found)) : null])
  put(addresses, [found.urls, found.addresses, reaches(state.status)], () => [...found.urls, ...found.addresses].map(address))
  put(image, [found.image, found.image_source], () => found.image ? [el('code', {}, found.image), found.image_source === 'build' ? ' built here' : null] : [])
  const values = used.get(found.name)
  put(cpu, values && values.cpu, () => values ? [values.cpu.at(-1).toFixed(1) + ' %', chart(values.cpu, 'cpu')] : [])
  put(memory, values && values.memory, () => values ? [bytes(values.memory.at(-1)), chart(values.memory, 'memory')] : [])
  put(restarts, found.restarts, () => found.restarts ? [String(found.restarts)] : [])
}

function simple(title, heads, rows) {
  return [el('h2', {}, title), el('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': title }, el('table', {}, el('thead', {}, el('tr', {}, heads.map(head => el('th', { scope: 'col' }, head)))),
    el('tbody', {}, rows.map(row => el('tr', {}, row.map((cell, at) => el(at ? 'td' : 'th', at ? {} : { scope: 'row' }, cell)))))))]
}

function others(status) {
  const parts = []
  const domain = status && status.platform.domain
  const programs = (state.programs || []).filter(program => !domain || program.host.endsWith('.' + domain))
  if (programs.length) parts.push(simple('Programs on this machine', ['Name', 'Port', 'Log'], programs.map(program => {
    const name = program.host.slice(0, domain ? -domain.length - 1 : undefined)
    return [address('https://' + program.host), String(program.port), service(name)]
  })))
  const cluster = status && status.cluster
  if (cluster && cluster.nodes.length) {
    parts.push(simple('Cluster ' + cluster.name, ['Node', 'State', 'Version', 'Address'], cluster.nodes.map(node =>
      [node.name, node.ready === false ? badge('bad', node.reason || 'not ready') : badge(node.state === 'running' ? 'good' : 'idle', node.state), node.version || '', node.address || ''])))
    if (cluster.problems.length) parts.push(cluster.problems.map(line => el('p', { class: 'why' }, line)))
  } else if (cluster && cluster.reason) parts.push(el('p', { class: 'soft' }, 'No Kubernetes cluster: ', rich(cluster.reason)))
  if (state.platforms && state.platforms.length) parts.push(simple('Platforms of this user', ['Name', 'State', 'Services', 'Domain', 'Folder'], state.platforms.map(row =>
    [el('a', { href: '?platform=' + encodeURIComponent(row.name) + '#/', 'data-key': 'platform ' + row.name }, row.name), badge(row.state === 'running' ? 'good' : 'idle', row.state),
      row.running + ' of ' + row.services, row.domain, (row.folder || '') + (row.gone ? ' (gone)' : '')])))
  return parts
}

// --- one service

function detail(place, name) {
  const head = el('div')
  const buttons = el('div', { class: 'row' })
  const said = el('div', { role: 'status' })
  const inside = el('div')
  let seen = null
  let closed = false
  let busy = false
  place.append(el('p', {}, el('a', { href: '#/' }, 'All services')), el('h2', {}, name), head, buttons, said, inside)
  const logs = reader(place, name)

  async function look() {
    const answer = await ask('/api/service?' + query({ service: name }))
    if (closed) return
    put(inside, answer, () => {
      if (!answer || answer.error) return answer ? trouble(answer.error) : el('p', { class: 'soft' }, program() ? 'A program of this machine, started by macula run.' : 'It has no container.')
      const names = list => list.length ? el('div', { class: 'needs' }, list.map(one => el('span', {}, service(one.name), ' ', badge(one.state === 'down' ? 'bad' : 'good', { running: 'runs', done: 'done' }[one.state] || 'does not run')))) : el('span', { class: 'soft' }, 'nothing')
      return el('div', { class: 'card' }, el('dl', {},
        el('dt', {}, 'Needs'), el('dd', {}, names(answer.needs)), el('dt', {}, 'Needed by'), el('dd', {}, names(answer.needed_by)),
        answer.containers.map(one => [el('dt', {}, 'Container'), el('dd', {}, el('code', {}, one.name), copy(one.name), ' ', one.id, ' ', Object.values(one.addresses).join(', '),
          one.volumes.length ? el('div', { class: 'soft' }, 'keeps data in ' + one.volumes.join(', ')) : null)])),
      variables(answer.variables))
    })
  }

  function variables(list) {
    if (!list) return el('p', { class: 'soft' }, 'The engine does not say which variables it has.')
    return el('details', {}, el('summary', {}, count(list.length, 'variable') + ', values hidden'), el('dl', {}, list.map(variable => {
      const value = el('dd', {}, allowed ? el('button', { type: 'button', 'aria-label': 'Show ' + variable, onclick: async () => {
        const answer = await post('/api/reveal', { platform: platform(), service: name, variable })
        value.replaceChildren(...(answer.error ? [answer.error.message] : [el('code', {}, answer.value || ''), copy(answer.value || '', 'the value of ' + variable)]))
        const next = value.querySelector('button')
        if (next) next.focus()
      } }, 'show') : '••••')
      return [el('dt', {}, el('code', {}, variable)), value]
    })))
  }

  // a program of `macula run` is no service, and has a log all the same
  const program = () => !!state && !!state.status && (state.programs || []).some(one => one.host === name + '.' + state.status.platform.domain)

  async function act(action) {
    busy = true
    done.set(name, { mood: ['busy', DOING[action]], turns: action !== 'start', held: true })
    render()
    said.replaceChildren(el('p', {}, action + ' …'))
    const answer = await post('/api/act', { platform: platform(), service: name, action })
    said.replaceChildren(...(answer.error ? trouble(answer.error).flat(9) : [el('p', {}, action === 'stop' ? 'stopped' : action + 'ed')]))
    busy = false
    // until the next look tells how it is
    if (answer.error) done.delete(name)
    else done.set(name, { mood: action === 'stop' ? MOODS.stopped : ['good', action + 'ed'], turns: action !== 'stop' })
    if (!closed) { render(); look() }
  }

  look()
  return {
    update() {
      const row = ((state.status || {}).services || []).find(row => row.name === name)
      put(head, row ? [mood(row), age(row.seconds), row.reason, row.urls, row.addresses, row.image, row.note, lacks(row), reaches(state.status)] : null, () => {
        if (!row) return state.status && !program() ? el('p', { class: 'why' }, 'No stack of ' + platform() + ' has a service of this name.') : []
        const [tone, word] = mood(row)
        const own = !changing(row)
        return [el('p', {}, badge(tone, word), ' ', el('span', { class: 'soft' }, own ? age(row.seconds) : ''), own && row.exit_code !== null && tone === 'bad' && !(row.reason || '').includes('exit code') ? ' exit code ' + row.exit_code : null),
          row.reason && own ? el('p', { class: tone === 'bad' ? 'why' : 'soft' }, rich(row.reason)) : null,
          lacks(row).length ? el('p', { class: 'why' }, 'It ' + lacking(row) + '.') : null,
          [...row.urls, ...row.addresses].map(address),
          row.image ? el('p', { class: 'soft' }, 'from ', el('code', {}, row.image), row.note ? ' ' + row.note : null) : null,
          row.condition === 'left_out' || row.condition === 'missing' ? command(typed('up ' + name)) : null]
      })
      const there = row && row.container
      const turns = there && (done.has(name) ? done.get(name).turns : row.state === 'running' || row.condition === 'restarting')
      put(buttons, [allowed, !!there, turns, busy], () => !there ? [] : !allowed ? [el('span', { class: 'soft' }, 'To start and stop it here: '), el('code', {}, 'macula open home'), copy('macula open home')] : [
        turns ? el('button', { type: 'button', disabled: busy, 'data-key': 'turn', onclick: () => act('stop') }, 'Stop') : el('button', { type: 'button', disabled: busy, class: 'main', 'data-key': 'turn', onclick: () => act('start') }, 'Start'),
        el('button', { type: 'button', disabled: busy, 'data-key': 'restart', onclick: () => act('restart') }, 'Restart')])
      const now = row && [row.container, row.state, row.restarts].join()
      if (now !== seen) { seen = now; if (seen) look() }
    },
    close() { closed = true; logs.close() },
  }
}

const ANY_LEVEL = [['', 'any level'], ['debug', 'debug'], ['info', 'info'], ['warn', 'warn'], ['error', 'error']]

// Text with what was looked for.
function marked(text, wanted) {
  const at = wanted ? text.toLowerCase().indexOf(wanted.toLowerCase()) : -1
  return at < 0 ? [text] : [text.slice(0, at), el('mark', {}, text.slice(at, at + wanted.length)), text.slice(at + wanted.length)]
}

// The same, with the id of a trace as the way to it.
function linked(text, wanted) {
  const found = /trace[_.-]?id["']?\s*[:=]\s*["']?([0-9a-f]{32})\b/i.exec(text)
  if (!found) return marked(text, wanted)
  const at = found.index + found[0].length - 32
  return [marked(text.slice(0, at), wanted), el('a', { href: '#/traces/' + found[1].toLowerCase() }, marked(found[1], wanted)), marked(text.slice(at + 32), wanted)]
}

// Lines as they come, of one service.
function reader(place, name) {
  const search = el('input', { type: 'search', id: 'log-search', placeholder: 'all lines' })
  const since = el('select', { id: 'log-since' }, [['', 'the last 500 lines'], ['300', '5 minutes'], ['3600', 'an hour'], ['86400', 'a day']].map(([value, text]) => el('option', { value }, text)))
  const level = el('select', { id: 'log-level' }, ANY_LEVEL.map(([value, text]) => el('option', { value }, text)))
  const follow = el('input', { type: 'checkbox', id: 'log-follow', checked: true })
  const box = el('div', { class: 'log', tabindex: '0', role: 'log', 'aria-live': 'off', 'aria-label': 'Log of ' + name })
  const note = el('p', { class: 'soft', role: 'status' })
  place.append(el('h3', {}, 'Log'), el('div', { class: 'row' }, el('label', { for: 'log-search' }, 'Search'), search, el('label', { for: 'log-level' }, 'At least'), level, el('label', { for: 'log-since' }, 'Since'), since,
    el('label', {}, follow, ' follow')), box, note)
  let stream = null
  let timer = 0
  let closed = false

  function open() {
    clearTimeout(timer)
    if (stream) stream.close()
    stream = null
    if (closed || document.hidden) return
    const wanted = search.value.trim()
    const more = { service: name, tail: since.value ? 5000 : 500, ...some({ since: since.value, search: wanted, level: level.value }) }
    const opened = new EventSource('/api/logs?' + query(more))
    stream = opened
    let first = true
    opened.addEventListener('log', event => {
      if (first) box.replaceChildren()
      first = false
      const packet = JSON.parse(event.data)
      if (packet.looked !== undefined) return told(packet.looked, wanted)
      note.textContent = ''
      add(packet, wanted)
    })
    // it is asked again from the beginning: what is there goes when the first lines come
    opened.addEventListener('error', () => { first = true; note.textContent = 'no connection; trying again …'; if (opened.readyState === EventSource.CLOSED && stream === opened) timer = setTimeout(open, 2000) })
    opened.addEventListener('end', () => { opened.close(); timer = setTimeout(open, 3000) })
  }

  // what there was before has been read
  function told(looked, wanted) {
    if (box.querySelector('time')) return
    const kind = [level.value && 'names the level ' + level.value + ' or a worse one', wanted && 'contains “' + wanted + '”'].filter(Boolean).join(' and ')
    const where = (since.value ? 'since then (' : 'so far (') + count(looked, 'line') + ')'
    note.textContent = !looked ? since.value ? 'Nothing was written since then.' : 'Nothing was written so far.' : kind ? 'No line ' + kind + ' ' + where + '. New ones appear here.' : ''
  }

  function add(packet, wanted) {
    const lines = (packet.lines || []).map(line => {
      const text = plain(line.text)
      return el('div', { class: [line.stderr && 'stderr', LEVELS[line.level] && 'level-' + LEVELS[line.level]].filter(Boolean).join(' '), title: line.stderr ? 'written to stderr' : null }, timeOf(line.time), ' ', linked(text, wanted))
    })
    if (packet.note) lines.push(el('div', { class: 'note' }, plain(packet.note)))
    box.append(...lines)
    while (box.childElementCount > MOST_LINES) box.firstChild.remove()
    if (follow.checked) box.scrollTop = box.scrollHeight
  }

  let typing = 0
  const anew = () => { box.replaceChildren(); note.textContent = ''; open() }
  search.addEventListener('input', () => { clearTimeout(typing); typing = setTimeout(anew, 300) })
  since.addEventListener('change', anew)
  level.addEventListener('change', anew)
  // whoever scrolls up wants to read; at the end it goes on
  let before = 0
  box.addEventListener('scroll', () => {
    const end = box.scrollHeight - box.clientHeight - box.scrollTop < 30
    if (end) follow.checked = true
    else if (box.scrollTop < before) follow.checked = false
    before = box.scrollTop
  })
  follow.addEventListener('change', () => { if (follow.checked) box.scrollTop = box.scrollHeight })
  document.addEventListener('visibilitychange', open)
  open()
  return { close() { closed = true; document.removeEventListener('visibilitychange', open); open() } }
}

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

function step(span, whole) {
  const bar = el('i', { class: span.error ? 'failed' : span.critical ? 'critical' : '' })
  bar.style.left = Math.min(99.5, 100 * span.start_ms / whole) + '%'
  bar.style.width = Math.max(0.2, Math.min(100 - 100 * span.start_ms / whole, 100 * span.took_ms / whole)) + '%'
  const about = [span.name, span.cause, span.error].filter(Boolean).map(plain).join(': ')
  return el('li', {}, el('span', { class: 'what', title: about }, plain(span.name), span.error ? el('span', { class: 'why' }, ' ' + plain(span.error)) : null),
    el('span', { class: 'soft' }, millis(span.took_ms)), el('span', { class: 'bar', 'aria-hidden': 'true' }, bar))
}

function runs(place) {
  const box = el('div')
  place.append(el('h2', {}, 'The last runs of up'), box)
  let chosen = 0
  async function look() {
    const kept = await ask('/api/runs?' + query())
    const all = (kept && kept.runs) || []
    const show = () => put(box, [all, chosen], () => {
      if (!all.length) return el('p', { class: 'soft' }, 'No run is recorded yet. The next one that changes something is.')
      const run = all[Math.min(chosen, all.length - 1)]
      const whole = Math.max(run.took_ms, 1)
      const least = Math.max(20, Math.round(whole / 100))
      const spans = parted(run, whole)
      // what nobody waited for is of interest only where it took long
      const isBrief = span => !span.error && span.took_ms < (span.critical ? least : whole / 10)
      const [long, brief] = [spans.filter(span => !isBrief(span)), spans.filter(isBrief)]
      return [
        el('div', { class: 'row' }, el('label', { for: 'run' }, 'Run'), el('select', { id: 'run', 'data-key': 'run', onchange: event => { chosen = Number(event.target.value); show() } },
          all.map((one, at) => el('option', { value: at, selected: at === chosen }, moment(new Date(one.began * 1000)) + ', ' + millis(one.took_ms) + (one.error ? ', failed' : ''))))),
        el('p', {}, run.command + ' took ' + millis(run.took_ms) + '. ', el('span', { class: 'soft' }, 'Blue steps decided how long: each waited for the one before it.')),
        run.error ? el('p', { class: 'why' }, plain(run.error)) : null,
        run.left_out.length ? el('p', {}, 'Left out: ' + run.left_out.join(', ')) : null,
        el('ol', { class: 'fall' }, long.map(span => step(span, whole))),
        brief.length ? el('details', {}, el('summary', {}, count(brief.length, 'other step') + ', short or at the same time as these'), el('ol', { class: 'fall' }, brief.map(span => step(span, whole)))) : null]
    })
    show()
  }
  look()
  const timer = setInterval(() => { if (!document.hidden) look() }, 5000)
  return { update() {}, close() { clearInterval(timer) } }
}

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
  return (known[what] || (place => oneTrace(place, what)))(place)
}

// Asks again and again, and at once when something else is asked for.
function polled(path, wanted, show, apart = 3000) {
  let closed = false
  let running = 0
  async function look() {
    const number = ++running
    const answer = await ask(path + '?' + query(wanted()))
    if (!closed && number === running) show(answer || {})
  }
  let typing = 0
  const soon = () => { clearTimeout(typing); typing = setTimeout(look, 250) }
  const timer = setInterval(() => { if (!document.hidden) look() }, apart)
  look()
  return { soon, update() {}, close() { closed = true; clearInterval(timer); clearTimeout(typing) } }
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

// What was asked for in a list, for whoever comes back to it.
const kept = {}
function keeps(...inputs) {
  for (const input of inputs) {
    const what = input.type === 'checkbox' ? 'checked' : 'value'
    if (kept[input.id] !== undefined) input[what] = kept[input.id]
    const keep = () => { kept[input.id] = input[what] }
    input.addEventListener('input', keep)
    input.addEventListener('change', keep)
  }
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

// Where each service stands: behind all that call it, but for calls that lead back. A call that passes by others has a
// place among them.
function places(map) {
  const names = [...new Set([...map.services.map(one => one.service), ...map.calls.flatMap(call => [call.from, call.to])])]
  const rank = new Map()
  const open = new Set()
  const visit = (name, depth) => {
    if (rank.get(name) >= depth) return
    rank.set(name, depth)
    open.add(name)
    for (const call of map.calls) if (call.from === name && !open.has(call.to)) visit(call.to, depth + 1)
    open.delete(name)
  }
  const called = new Set(map.calls.map(call => call.to))
  for (const name of names) if (!called.has(name)) visit(name, 0)
  // what only calls in a circle
  for (const name of names) if (!rank.has(name)) visit(name, 0)
  const rows = []
  for (const name of names) (rows[rank.get(name)] ||= []).push({ id: name, size: 1 })
  const steps = []
  const ways = map.calls.map((call, number) => {
    const between = []
    for (let row = rank.get(call.from) + 1; row < rank.get(call.to); row++) {
      between.push(number + ' ' + row)
      rows[row].push({ id: number + ' ' + row, size: .4 })
    }
    const all = [call.from, ...between, call.to]
    if (rank.get(call.to) > rank.get(call.from)) all.slice(1).forEach((id, at) => steps.push([all[at], id]))
    return between
  })
  const widest = Math.max(...rows.map(row => row.reduce((sum, one) => sum + one.size, 0)))
  const at = new Map()
  for (const row of rows) {
    const wanted = new Map(row.map(one => {
      const from = steps.filter(([before, id]) => id === one.id && at.has(before)).map(([before]) => at.get(before))
      return [one, from.length ? from.reduce((sum, place) => sum + place, 0) / from.length : widest]
    }))
    row.sort((one, other) => wanted.get(one) - wanted.get(other))
    let next = (widest - row.reduce((sum, one) => sum + one.size, 0)) / 2
    for (const one of row) { at.set(one.id, next + one.size / 2); next += one.size }
  }
  return { names, rows: rows.length, rank, at, ways, widest }
}

const calls = (count, errors) => count + '×' + (errors ? ', ' + errors + ' failed' : '')
const clipped = (text, most) => text.length > most ? text.slice(0, most - 1) + '…' : text

// Who calls whom, from left to right, or downwards where there is no room.
function drawn(map, down) {
  const [width, height] = [down ? 150 : 184, 60]
  const { names, rows, rank, at, ways, widest } = places(map)
  const [depth, between, side, apart] = down ? [height, 56, width, 14] : [width, 124, height, 22]
  // lengths along the calls, and across them
  const along = name => rank.get(name) * (depth + between)
  const across = id => at.get(id) * (side + apart) - apart / 2
  const point = (one, other) => down ? [other, one] : [one, other]
  const line = (call, number) => {
    const [from, to] = [across(call.from), across(call.to)]
    let path, middle
    if (rank.get(call.to) > rank.get(call.from)) {
      const stops = ways[number].map((id, at) => [along(call.from) + (at + 1) * (depth + between), across(id)])
      let [here, place] = [along(call.from) + depth, from]
      path = 'M' + point(here, place)
      for (const [next, there] of [...stops, [along(call.to), to]]) {
        const half = (here + next) / 2
        middle ||= point(half, (place + there) / 2)
        path += 'C' + point(half, place) + ' ' + point(half, there) + ' ' + point(next, there)
        if (next !== along(call.to)) path += 'L' + point(next + depth, there)
        ;[here, place] = [next + depth, there]
      }
    } else {
      // around, on the other side
      const [one, other, out] = [along(call.from) + depth / 2, along(call.to) + depth / 2, Math.max(from, to) + side / 2 + 44]
      path = 'M' + point(one, from + side / 2) + 'C' + point(one, out) + ' ' + point(other, out) + ' ' + point(other, to + side / 2)
      middle = point((one + other) / 2, out - 12)
    }
    return [svg('path', { class: call.errors ? 'call failed' : 'call', d: path, 'stroke-width': Math.min(1 + Math.log10(call.count) / 2, 3).toFixed(1), 'marker-end': 'url(#' + (call.errors ? 'failed' : 'to') + ')' }),
      svg('text', { class: call.errors ? 'call failed' : 'call', x: middle[0], y: middle[1] + (down ? 4 : -5), 'text-anchor': 'middle' }, calls(call.count, call.errors))]
  }
  const known = new Map(map.services.map(one => [one.service, one]))
  const box = name => {
    const one = known.get(name) || { count: 0, errors: 0 }
    const [x, y] = point(along(name), across(name) - side / 2)
    return svg('a', { class: one.errors ? 'service failed' : 'service', href: '#/traces', 'data-name': name }, svg('title', {}, plain(name)), svg('rect', { x, y, width, height, rx: 8 }),
      svg('text', { x: x + 10, y: y + 19, class: 'name' }, clipped(plain(name), down ? 16 : 20)),
      svg('text', { x: x + 10, y: y + 36 }, one.count ? calls(one.count, one.errors) : 'only calls others'),
      svg('text', { x: x + 10, y: y + 51 }, one.count ? 'p95 ' + micros(one.p95_us) : ''))
  }
  const head = id => svg('marker', { id, viewBox: '0 0 8 8', refX: 7, refY: 4, markerWidth: 8, markerHeight: 8, markerUnits: 'userSpaceOnUse', orient: 'auto' }, svg('path', { d: 'M0 0L8 4L0 8z' }))
  const back = map.calls.some(call => rank.get(call.to) <= rank.get(call.from)) ? 50 : 0
  const [w, h] = point(rows * (depth + between) - between + 8, widest * (side + apart) - apart + 8 + back)
  // first what lies behind
  const lines = map.calls.map(line)
  return svg('svg', { class: 'map', viewBox: [-4, -4, w, h].join(' '), width: w, height: h, role: 'group', 'aria-label': 'Map of ' + names.length + ' services; the tables below say the same' },
    svg('defs', {}, head('to'), head('failed')), lines.map(([path]) => path), names.map(box), lines.map(([, text]) => text))
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

const number = value => Number(value.toPrecision(6)).toLocaleString('en-US', { maximumSignificantDigits: 6 })
const labels = one => plain(Object.entries(one.attributes).map(([name, value]) => name + '=' + value).join(' '))

// Curves of the last hour in one picture; the table below has their names.
function curves(all) {
  const most = Math.max(...all.flatMap(one => one.values)) || 1
  const least = Math.min(0, ...all.flatMap(one => one.values))
  // Prometheus gives a value a minute; one that has begun later begins further right
  const longest = Math.max(...all.map(one => one.values.length), 61)
  const now = new Date()
  const points = values => values.map((value, at) => [(600 * (longest - values.length + at) / (longest - 1)).toFixed(1), (110 - 104 * (value - least) / (most - least || 1)).toFixed(1)].join()).join(' ')
  return el('div', { class: 'card' }, svg('svg', { class: 'curves', viewBox: '0 0 600 116', preserveAspectRatio: 'none', 'aria-hidden': 'true' }, all.slice(0, 12).map((one, at) => svg('polyline', { class: 'curve' + at % 6 + (at < 6 ? '' : ' second'), points: points(one.values) }))),
    el('p', { class: 'soft ends', 'aria-hidden': 'true' }, el('span', {}, clock(new Date(now - 3600000)).slice(0, 5)), el('span', {}, clock(now).slice(0, 5))),
    el('p', { class: 'soft' }, 'The last hour, from ' + number(least) + ' to ' + number(most) + (all.length > 12 ? '; the first 12 of ' + all.length : '')))
}

function metricList(place) {
  const box = el('div')
  const about = el('div')
  const names = el('datalist', { id: 'metric-names' })
  const chosen = el('select', { id: 'metric-usual', onchange: () => { if (chosen.value) { typed.value = chosen.value; view.soon() } } })
  const typed = el('input', { type: 'search', id: 'metric-expression', list: 'metric-names', class: 'wide', onchange: () => view.soon() })
  const form = el('div', { class: 'row', hidden: true }, field('metric-usual', 'Show', chosen), field('metric-expression', 'PromQL', typed), names)
  const pictures = el('div')
  place.append(about, form, pictures, box)
  return polled('/api/metrics', () => some({ expression: typed.value.trim() }), answer => {
    put(about, [answer.state, answer.asked, answer.error], () => receiving(answer))
    form.hidden = !answer.usual
    if (answer.usual) {
      put(names, answer.names, () => answer.names.map(name => el('option', { value: name })))
      put(chosen, answer.usual, () => [...answer.usual.map(one => el('option', { value: one.expression }, one.title)), el('option', { value: '' }, 'what is typed')])
      if (!typed.value) typed.value = answer.expression
      if (document.activeElement !== chosen) chosen.value = answer.usual.some(one => one.expression === answer.expression) ? answer.expression : ''
      put(pictures, [answer.series, answer.expression, answer.state], () => !answer.series.length ? ((answer.state || {}).problems || []).length ? [] : el('p', { class: 'soft' }, 'Prometheus has nothing of that within the last hour.') : [curves(answer.series),
        simple('Prometheus', ['Service', 'Metric', 'Labels', 'Last', 'Course'], answer.series.map((one, at) => [[at < 12 ? el('span', { class: 'dot curve' + at % 6 + (at < 6 ? '' : ' second'), 'aria-hidden': 'true' }) : null, plain(one.service)], plain(one.name), labels(one), number(one.value), chart(one.values.slice(-60), one.name)]))])
    }
    const all = answer.metrics || []
    put(box, [all, !!answer.usual], () => all.length ? simple('Metrics of the last hour; of a histogram its mean', ['Service', 'Metric', 'Attributes', 'Last', 'Course'], all.map(one => [plain(one.service), plain(one.name),
      labels(one), number(one.value) + (one.unit && one.unit !== '1' ? ' ' + plain(one.unit) : ''), chart(one.values.slice(-60), one.name)])) :
      answer.usual ? [] : el('p', { class: 'soft' }, 'No program has sent a metric within the last hour.'))
  }, 5000)
}

// --- names and doctor: looked at when asked

function asked(place, title, about, path, show) {
  const box = el('div', { 'aria-live': 'polite' })
  const button = el('button', { type: 'button', class: 'main', onclick: look }, 'Check again')
  place.append(el('h2', {}, title), el('p', { class: 'soft' }, about), el('div', { class: 'row' }, button), box)
  async function look() {
    button.disabled = true
    box.replaceChildren(el('p', {}, 'looking …'))
    const answer = await ask(path + '?' + query())
    box.replaceChildren(...[answer && answer.error ? trouble(answer.error) : show(answer)].flat(9).filter(Boolean))
    button.disabled = false
  }
  look()
  return { update() {} }
}

const HOPS = ['look-up', 'dns', 'connect', 'tls', 'http', 'service', 'inside']
const SIGNS = { ok: ['good', '✓', 'works'], broken: ['bad', '✗', 'broken'], unknown: ['idle', '?', 'not known'] }

function names(place) {
  return asked(place, 'Names', 'Each name walked hop by hop, on this machine and from a container, as by macula validate.', '/api/names', found => [
    found.broken.map(fault => el('div', { class: 'card' }, el('p', {}, badge('bad', fault.hop), ' ', rich(fault.text)),
      fault.names.length ? el('p', { class: 'soft' }, fault.names.join(', ')) : null, fault.hints.map(line => el('p', {}, rich(line))), fault.try.map(command))),
    found.ok && found.names.length ? el('p', {}, badge('good', 'every name works')) : null,
    !found.names.length ? el('p', { class: 'soft' }, 'No service that runs has a name or a published port.') : el('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': 'Names' }, el('table', {}, el('thead', {}, el('tr', {}, ['Name', 'Service', ...HOPS].map(head => el('th', { scope: 'col' }, head)))),
      el('tbody', {}, found.names.map(row => el('tr', {}, el('th', { scope: 'row' }, row.name), el('td', {}, service(row.service)), HOPS.map(hop => {
        const there = row.hops.find(one => one.hop === hop)
        if (!there) return el('td', { class: 'hop soft' }, '–')
        const [tone, sign, word] = SIGNS[there.state] || SIGNS.unknown
        const seen = Array.isArray(there.seen) ? there.seen.join('\n') : String(there.seen || '')
        return el('td', { class: 'hop' }, el('span', { class: 'state ' + tone, title: plain(seen) }, el('span', { 'aria-hidden': 'true' }, sign), el('span', { class: 'out-of-sight' }, word)))
      })))))),
  ])
}

const FOUND = { ok: ['good', 'ok'], warning: ['busy', 'warning'], failed: ['bad', 'failed'], skipped: ['idle', 'skipped'] }
const RANK = ['failed', 'warning', 'ok', 'skipped']

function doctor(place) {
  return asked(place, 'Doctor', 'What this machine needs, as by macula doctor. Nothing is changed from here.', '/api/doctor', findings =>
    findings.slice().sort((one, other) => RANK.indexOf(one.status) - RANK.indexOf(other.status)).map(found => {
      const [tone, word] = FOUND[found.status] || FOUND.skipped
      const open = tone === 'bad' || tone === 'busy'
      return el(open ? 'div' : 'p', { class: open ? 'card' : '' }, badge(tone, word), ' ', el('strong', {}, found.check), ' ', rich(found.summary),
        open ? [found.detail.map(line => el('p', { class: 'soft' }, rich(line))),
          found.fix ? [el('p', {}, rich(found.fix.text)), found.fix.actions.length ? command(typed('doctor --fix ' + found.check)) : null] : null] : null)
    }))
}

// --- beginning

window.addEventListener('hashchange', move)
document.addEventListener('visibilitychange', connect)
document.querySelector('.skip').addEventListener('click', event => { event.preventDefault(); $('main').focus() })
// an arrow key in the closed list changes its value: then it takes Enter to go there
const chooser = $('platforms')
let keyed = false
const go = () => { if (chooser.value !== platform()) location.assign('?platform=' + encodeURIComponent(chooser.value) + '#/') }
chooser.addEventListener('keydown', event => { keyed = event.key !== 'Enter'; if (!keyed) go() })
chooser.addEventListener('pointerdown', () => { keyed = false })
chooser.addEventListener('change', () => { if (!keyed) go() })
connect()
permission().then(() => route())
