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
const mood = row => MOODS[row.condition] || ['idle', row.condition]
// as `macula status` and `macula ls` count: a job that is done does not run
const isUp = row => row.condition === 'unclaimed' ? row.state === 'running' : ['healthy', 'running', 'starting'].includes(row.condition)
const ORDER = { bad: 0, busy: 1, good: 2, idle: 3 }

// An error of a command, with what to type.
function trouble(error) {
  if (!error) return []
  return [
    el('p', {}, el('strong', {}, plain(error.message || 'something went wrong'))),
    (error.details || []).map(line => el('p', {}, plain(line))),
    (error.causes || []).map(line => el('p', { class: 'soft' }, plain(line))),
    (error.hints || []).map(line => el('p', {}, plain(line))),
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
    answer = await fetch(path, { ...options, headers })
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
  document.title = platform() + ' · Macula'
  $('live').textContent = connected ? 'live' : state ? 'no connection; trying again …' : 'connecting …'
  $('live').className = connected || !state ? '' : 'lost'
  $('version').textContent = state ? 'macula ' + state.version + ' · ' + location.host : ''
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

function render() {
  frame()
  if (view && state) view.update()
}

function route() {
  const parts = location.hash.replace(/^#\/?/, '').split('/').map(decoded)
  if (parts[0] === 'enter') return enter(parts[1])
  if (view && view.close) view.close()
  const place = $('view')
  place.replaceChildren()
  const views = { '': overview, service: () => detail(place, parts[1] || ''), up: runs, traces: () => traces(place, parts[1] || ''), names, doctor }
  view = (views[parts[0]] || overview)(place)
  render()
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
  const rest = el('div')
  place.append(facts, notes, search, el('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': 'Services' }, table), rest)
  const rows = new Map()
  return { update() {
    const status = state.status
    for (const part of [facts, notes, search, table]) part.hidden = !status
    if (status) {
      summary(facts, notes, status)
      const wanted = filter.value.trim().toLowerCase()
      const services = status.services
        .filter(row => !wanted || (row.name + ' ' + row.stack + ' ' + (row.image || '')).toLowerCase().includes(wanted))
        .map((row, at) => [ORDER[mood(row)[0]] * 10000 + at, row])
        .sort((one, other) => one[0] - other[0]).map(([, row]) => row)
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
    put(rest, [state.programs, status && status.cluster, state.platforms, !!state.problem], () => others(status))
  } }
}

function summary(facts, notes, status) {
  const count = wanted => status.services.filter(row => mood(row)[0] === wanted).length
  const running = status.services.filter(isUp).length
  const signature = [{ ...status.platform, up_seconds: minutes(status.platform.up_seconds) }, running, count('bad'), count('busy'), status.dns, state.folder, allowed, status.changes, status.drift]
  put(facts, signature, () => {
    const fact = (title, value) => value ? el('span', {}, title + ' ', el('b', {}, value)) : null
    const dns = status.dns.off ? 'off' : status.dns.healthy ? (status.dns.installed ? 'names work' : 'not installed on this machine') : 'not answering'
    return [
      fact('Domain', status.platform.domain), fact('Up', minutes(status.platform.up_seconds)),
      fact('Running', String(running)), fact('Failing', count('bad') ? String(count('bad')) : ''), fact('of them starting', count('busy') ? String(count('busy')) : ''),
      fact('DNS', dns), fact('Folder', state.folder || ''),
    ]
  })
  put(notes, signature, () => [
    status.platform.down ? el('div', { class: 'card' }, el('p', {}, 'The platform is down.'), command(typed('up'))) : null,
    status.platform.owner ? el('p', { class: 'why' }, 'It belongs to ' + status.platform.owner + '.') : null,
    status.dns.problem ? el('p', { class: 'why' }, 'Names: ' + status.dns.problem) : null,
    status.changes.length && !status.platform.down ? el('details', { class: 'card' },
      el('summary', {}, 'An up would change ' + status.changes.join(', ')), status.drift.map(line => el('p', {}, el('code', {}, line))), command(typed('plan'))) : null,
    allowed ? null : el('p', { class: 'soft' }, 'This browser can only look. To start and stop services here: ', el('code', {}, 'macula open home'), copy('macula open home')),
  ])
}

function fill(row, found) {
  const [name, now, addresses, image, cpu, memory, restarts] = row.children
  put(name, [found.name, found.stack], () => [service(found.name), el('div', { class: 'soft' }, found.stack)])
  const [tone, word] = mood(found)
  put(now, [found.condition, age(found.seconds), found.reason], () => [
    badge(tone, word), ' ', el('span', { class: 'soft' }, age(found.seconds)),
    found.reason ? el('div', { class: tone === 'bad' ? 'why' : 'soft' }, plain(found.reason)) : null])
  put(addresses, [found.urls, found.addresses], () =>
    [...found.urls, ...found.addresses].map(address => el('span', { class: 'address' }, link(address), copy(address))))
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
  if (programs.length) parts.push(simple('Programs on this machine', ['Name', 'Port'], programs.map(program => [link('https://' + program.host), String(program.port)])))
  const cluster = status && status.cluster
  if (cluster && cluster.nodes.length) {
    parts.push(simple('Cluster ' + cluster.name, ['Node', 'State', 'Version', 'Address'], cluster.nodes.map(node =>
      [node.name, node.ready === false ? badge('bad', node.reason || 'not ready') : badge(node.state === 'running' ? 'good' : 'idle', node.state), node.version || '', node.address || ''])))
    if (cluster.problems.length) parts.push(cluster.problems.map(line => el('p', { class: 'why' }, line)))
  } else if (cluster && cluster.reason) parts.push(el('p', { class: 'soft' }, 'No Kubernetes cluster: ' + cluster.reason))
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
  place.append(el('p', {}, el('a', { href: '#/' }, 'All services')), el('h2', {}, name), head, buttons, said, inside)
  const logs = reader(place, name)

  async function look() {
    const answer = await ask('/api/service?' + query({ service: name }))
    if (closed) return
    put(inside, answer, () => {
      if (!answer || answer.error) return answer ? trouble(answer.error) : el('p', { class: 'soft' }, 'It has no container.')
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
    return el('details', {}, el('summary', {}, list.length + ' variables, values hidden'), el('dl', {}, list.map(variable => {
      const value = el('dd', {}, allowed ? el('button', { type: 'button', 'aria-label': 'Show ' + variable, onclick: async () => {
        const answer = await post('/api/reveal', { platform: platform(), service: name, variable })
        value.replaceChildren(...(answer.error ? [answer.error.message] : [el('code', {}, answer.value || ''), copy(answer.value || '', 'the value of ' + variable)]))
      } }, 'show') : '••••')
      return [el('dt', {}, el('code', {}, variable)), value]
    })))
  }

  async function act(action) {
    for (const button of buttons.querySelectorAll('button')) button.disabled = true
    said.replaceChildren(el('p', {}, action + ' …'))
    const answer = await post('/api/act', { platform: platform(), service: name, action })
    said.replaceChildren(...(answer.error ? trouble(answer.error).flat(9) : [el('p', {}, action === 'stop' ? 'stopped' : action + 'ed')]))
    for (const button of buttons.querySelectorAll('button')) button.disabled = false
    look()
  }

  look()
  return {
    update() {
      const row = ((state.status || {}).services || []).find(row => row.name === name)
      put(head, row ? [row.condition, age(row.seconds), row.reason, row.urls, row.addresses, row.image, row.note] : null, () => {
        if (!row) return state.status ? el('p', { class: 'why' }, 'No stack of ' + platform() + ' has a service of this name.') : []
        const [tone, word] = mood(row)
        return [el('p', {}, badge(tone, word), ' ', el('span', { class: 'soft' }, age(row.seconds)), row.exit_code !== null && tone === 'bad' ? ' exit code ' + row.exit_code : null),
          row.reason ? el('p', { class: tone === 'bad' ? 'why' : 'soft' }, plain(row.reason)) : null,
          [...row.urls, ...row.addresses].map(address => el('span', { class: 'address' }, link(address), copy(address))),
          row.image ? el('p', { class: 'soft' }, 'from ', el('code', {}, row.image), row.note ? ' ' + row.note : null) : null,
          row.condition === 'left_out' || row.condition === 'missing' ? command(typed('up ' + name)) : null]
      })
      const there = row && row.container
      put(buttons, [allowed, !!there, there && row.state], () => !there ? [] : !allowed ? [el('span', { class: 'soft' }, 'To start and stop it here: '), el('code', {}, 'macula open home'), copy('macula open home')] : [
        row.state === 'running' ? el('button', { type: 'button', 'data-key': 'stop', onclick: () => act('stop') }, 'Stop') : el('button', { type: 'button', class: 'main', 'data-key': 'start', onclick: () => act('start') }, 'Start'),
        el('button', { type: 'button', 'data-key': 'restart', onclick: () => act('restart') }, 'Restart')])
      const now = row && [row.container, row.state, row.restarts].join()
      if (now !== seen) { seen = now; if (seen) look() }
    },
    close() { closed = true; logs.close() },
  }
}

// Lines as they come, of one service.
function reader(place, name) {
  const search = el('input', { type: 'search', id: 'log-search', placeholder: 'all lines' })
  const since = el('select', { id: 'log-since' }, [['', 'the last 500 lines'], ['300', '5 minutes'], ['3600', 'an hour'], ['86400', 'a day']].map(([value, text]) => el('option', { value }, text)))
  const follow = el('input', { type: 'checkbox', id: 'log-follow', checked: true })
  const box = el('div', { class: 'log', tabindex: '0', role: 'log', 'aria-live': 'off', 'aria-label': 'Log of ' + name })
  const note = el('p', { class: 'soft', role: 'status' })
  place.append(el('h3', {}, 'Log'), el('div', { class: 'row' }, el('label', { for: 'log-search' }, 'Search'), search, el('label', { for: 'log-since' }, 'Since'), since,
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
    const more = { service: name, tail: since.value ? 5000 : 500, ...(since.value ? { since: since.value } : {}), ...(wanted ? { search: wanted } : {}) }
    const opened = new EventSource('/api/logs?' + query(more))
    stream = opened
    let first = true
    opened.addEventListener('log', event => {
      if (first) box.replaceChildren()
      first = false
      note.textContent = ''
      add(JSON.parse(event.data), wanted)
    })
    // it is asked again from the beginning: what is there goes when the first lines come
    opened.addEventListener('error', () => { first = true; note.textContent = 'no connection; trying again …'; if (opened.readyState === EventSource.CLOSED && stream === opened) timer = setTimeout(open, 2000) })
    opened.addEventListener('end', () => { opened.close(); timer = setTimeout(open, 3000) })
  }

  function add(packet, wanted) {
    const lines = (packet.lines || []).map(line => {
      const text = plain(line.text)
      const at = wanted ? text.toLowerCase().indexOf(wanted.toLowerCase()) : -1
      const parts = at < 0 ? [text] : [text.slice(0, at), el('mark', {}, text.slice(at, at + wanted.length)), text.slice(at + wanted.length)]
      return el('div', { class: line.stderr ? 'stderr' : '' }, el('time', {}, line.time.slice(11, 19)), ' ', parts)
    })
    if (packet.note) lines.push(el('div', { class: 'note' }, plain(packet.note)))
    box.append(...lines)
    while (box.childElementCount > MOST_LINES) box.firstChild.remove()
    if (follow.checked) box.scrollTop = box.scrollHeight
  }

  let typing = 0
  search.addEventListener('input', () => { clearTimeout(typing); typing = setTimeout(() => { box.replaceChildren(); open() }, 300) })
  since.addEventListener('change', () => { box.replaceChildren(); open() })
  document.addEventListener('visibilitychange', open)
  open()
  return { close() { closed = true; document.removeEventListener('visibilitychange', open); open() } }
}

// --- the last runs of up

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
      return [
        el('div', { class: 'row' }, el('label', { for: 'run' }, 'Run'), el('select', { id: 'run', 'data-key': 'run', onchange: event => { chosen = Number(event.target.value); show() } },
          all.map((one, at) => el('option', { value: at, selected: at === chosen }, new Date(one.began * 1000).toLocaleString() + ', ' + millis(one.took_ms) + (one.error ? ', failed' : ''))))),
        el('p', {}, run.command + ' took ' + millis(run.took_ms) + '. ', el('span', { class: 'soft' }, 'Blue steps decided how long: each waited for the one before it.')),
        run.error ? el('p', { class: 'why' }, plain(run.error)) : null,
        run.left_out.length ? el('p', {}, 'Left out: ' + run.left_out.join(', ')) : null,
        el('ol', { class: 'fall' }, run.spans.slice().sort((one, other) => one.start_ms - other.start_ms).map(span => {
          const bar = el('i', { class: span.error ? 'failed' : span.critical ? 'critical' : '' })
          bar.style.left = Math.min(99.5, 100 * span.start_ms / whole) + '%'
          bar.style.width = Math.max(0.2, Math.min(100 - 100 * span.start_ms / whole, 100 * span.took_ms / whole)) + '%'
          const about = [span.name, span.cause, span.error].filter(Boolean).map(plain).join(': ')
          return el('li', {}, el('span', { class: 'what', title: about }, plain(span.name), span.error ? el('span', { class: 'why' }, ' ' + plain(span.error)) : null),
            el('span', { class: 'soft' }, millis(span.took_ms)), el('span', { class: 'bar', 'aria-hidden': 'true' }, bar))
        }))]
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
    el('a', { href: '#/traces' + (path && '/' + path), 'aria-current': what === path ? 'page' : false }, title))))
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
      ' (OTLP over HTTP or gRPC). ', bytes(found.size), ' are kept.') :
      others.length ? null : el('p', { class: 'soft' }, 'Nothing is taken here now: Tempo and Alloy are part of the platform, or it is down.'),
    others.length ? el('p', { class: 'soft' }, 'What is shown comes from ' + others.map(([name, title]) => title + ' (' + answer.asked[name] + ')').join(', ') + ' and from what is kept here.') : null,
  ]
}

const some = values => Object.fromEntries(Object.entries(values).filter(([, value]) => value))
const field = (id, label, input) => [el('label', { for: id }, label), input]

function traceList(place) {
  const serviceName = el('input', { type: 'search', id: 'trace-service', placeholder: 'any', oninput: () => view.soon() })
  const slow = el('select', { id: 'trace-slow', onchange: () => view.soon() }, [['', 'any'], ['10', '10 ms'], ['100', '100 ms'], ['1000', '1 s'], ['10000', '10 s']].map(([value, text]) => el('option', { value }, text)))
  const failed = el('input', { type: 'checkbox', onchange: () => view.soon() })
  const about = el('div')
  const box = el('div')
  place.append(about, el('div', { class: 'row' }, field('trace-service', 'Service', serviceName), field('trace-slow', 'At least', slow), el('label', {}, failed, ' failed')), box)
  return polled('/api/traces', () => some({ service: serviceName.value.trim(), slow: slow.value, errors: failed.checked && '1' }), answer => {
    put(about, [answer.state, answer.asked, answer.error], () => receiving(answer))
    const all = answer.traces || []
    put(box, all, () => !all.length ? el('p', { class: 'soft' }, 'No such trace has come yet.') : [simple('Traces', ['Trace', 'Started', 'Name', 'Services', 'Took', 'Spans', 'Failed'], all.map(one => [
      traceLink(one.trace), new Date(one.start).toLocaleTimeString(), [el('b', {}, plain(one.service)), ' ', plain(one.name)], plain(one.services.join(', ')),
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
    return svg('g', { class: one.errors ? 'service failed' : 'service' }, svg('title', {}, plain(name)), svg('rect', { x, y, width, height, rx: 8 }),
      svg('text', { x: x + 10, y: y + 19, class: 'name' }, clipped(plain(name), down ? 16 : 20)),
      svg('text', { x: x + 10, y: y + 36 }, one.count ? calls(one.count, one.errors) : 'only calls others'),
      svg('text', { x: x + 10, y: y + 51 }, one.count ? 'p95 ' + micros(one.p95_us) : ''))
  }
  const head = id => svg('marker', { id, viewBox: '0 0 8 8', refX: 7, refY: 4, markerWidth: 8, markerHeight: 8, markerUnits: 'userSpaceOnUse', orient: 'auto' }, svg('path', { d: 'M0 0L8 4L0 8z' }))
  const back = map.calls.some(call => rank.get(call.to) <= rank.get(call.from)) ? 50 : 0
  const [w, h] = point(rows * (depth + between) - between + 8, widest * (side + apart) - apart + 8 + back)
  // first what lies behind
  const lines = map.calls.map(line)
  return svg('svg', { class: 'map', viewBox: [-4, -4, w, h].join(' '), width: w, height: h, role: 'img', 'aria-label': 'Map of ' + names.length + ' services; the tables below say the same' },
    svg('defs', {}, head('to'), head('failed')), lines.map(([path]) => path), names.map(box), lines.map(([, text]) => text))
}

function serviceMap(place) {
  const about = el('div')
  const box = el('div')
  place.append(about, box)
  return polled('/api/map', () => ({}), answer => {
    put(about, [answer.state, answer.asked, answer.error], () => receiving(answer))
    const map = answer.map || { services: [], calls: [], spans: 0, traces: 0 }
    const down = box.clientWidth < 640
    put(box, [map, down], () => !map.services.length ? el('p', { class: 'soft' }, 'No trace has come yet.') : [
      el('div', { class: 'scroll card', tabindex: '0', role: 'region', 'aria-label': 'Map of the services' }, drawn(map, down)),
      el('p', { class: 'soft' }, 'From ' + map.spans + ' spans of ' + map.traces + ' traces, the newest there are. A call is a span whose parent is of another service; its time is what the called service has measured.'),
      map.calls.length ? simple('Calls', ['From', 'To', 'Calls', 'Failed', 'p95'], map.calls.map(call => [plain(call.from), plain(call.to), String(call.count), call.errors ? badge('bad', String(call.errors)) : '0', micros(call.p95_us)])) : null,
      simple('Services', ['Service', 'Requests', 'Failed', 'p95'], map.services.map(one => [plain(one.service), String(one.count), one.errors ? badge('bad', String(one.errors)) : '0', one.count ? micros(one.p95_us) : '']))])
  }, 10000)
}

const pairs = values => Object.entries(values).map(([name, value]) => [el('dt', {}, plain(name)), el('dd', {}, plain(typeof value === 'string' ? value : JSON.stringify(value)))])

function sentLines(lines, wanted) {
  return el('div', { class: 'log', tabindex: '0', role: 'log', 'aria-live': 'off', 'aria-label': 'Log lines' }, lines.map(line => {
    const text = plain(line.text)
    const at = wanted ? text.toLowerCase().indexOf(wanted.toLowerCase()) : -1
    const parts = at < 0 ? [text] : [text.slice(0, at), el('mark', {}, text.slice(at, at + wanted.length)), text.slice(at + wanted.length)]
    return el('div', {}, el('time', {}, line.time.slice(11, 23)), ' ', line.level ? badge(LEVELS[line.level] || 'idle', line.level) : null, ' ', el('b', {}, plain(line.service)), ' ', parts,
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
    const about = el('div', { 'aria-live': 'polite' })
    const detail = (span, button) => {
      if (open) open.removeAttribute('aria-pressed')
      open = button
      button.setAttribute('aria-pressed', 'true')
      about.replaceChildren(el('div', { class: 'card' }, el('h3', {}, plain(span.service) + ': ' + plain(span.name)),
        span.error ? el('p', { class: 'why' }, 'failed ' + plain(span.message)) : null,
        el('dl', {}, el('dt', {}, 'took'), el('dd', {}, micros(span.duration_us) + ' from ' + micros(span.offset_us)), el('dt', {}, 'span'), el('dd', {}, span.span + ' ' + span.kind), pairs(span.attributes)),
        span.events.length ? [el('h3', {}, 'Events'), el('dl', {}, span.events.map(event => [el('dt', {}, micros(event.offset_us)), el('dd', {}, plain(event.name), ' ', el('dl', {}, pairs(event.attributes)))]))] : null,
        span.links.length ? el('p', {}, 'Links: ', span.links.map(one => [traceLink(one.trace), ' '])) : null,
        el('details', {}, el('summary', {}, 'Who has sent it'), el('dl', {}, el('dt', {}, 'library'), el('dd', {}, plain(span.scope)), pairs(span.resource)))))
    }
    return [
      problems,
      el('p', {}, 'Trace ', el('code', {}, trace.trace), copy(trace.trace), ' of ' + new Date(trace.start).toLocaleString() + ' took ' + micros(trace.duration_us) + ' in ' + trace.spans.length + ' spans of ' + plain(trace.services.join(', ')) + '.'),
      trace.calls.length ? el('p', { class: 'soft' }, 'Calls: ' + trace.calls.map(call => plain(call.from) + ' → ' + plain(call.to) + (call.count > 1 ? ' ×' + call.count : '')).join(', ')) : null,
      el('ol', { class: 'fall' }, trace.spans.map(span => {
        const bar = el('i', { class: span.error ? 'failed' : 'critical' })
        bar.style.left = Math.min(99.5, 100 * span.offset_us / whole) + '%'
        bar.style.width = Math.max(0.2, Math.min(100 - 100 * span.offset_us / whole, 100 * span.duration_us / whole)) + '%'
        const name = el('button', { type: 'button', class: 'span', 'data-key': 'span ' + span.span, onclick: event => detail(span, event.currentTarget) }, el('b', {}, plain(span.service)), ' ', plain(span.name), span.error ? el('span', { class: 'why' }, ' failed') : null)
        name.style.marginLeft = Math.min(span.depth, 12) * .6 + 'rem'
        return el('li', {}, el('span', { class: 'what' }, name), el('span', { class: 'soft' }, micros(span.duration_us)), el('span', { class: 'bar', 'aria-hidden': 'true' }, bar))
      })), about,
      el('h3', {}, 'Log lines'), trace.lines.length ? sentLines(trace.lines) : el('p', { class: 'soft' }, 'None has its id.')]
  })
  return polled('/api/trace', () => ({ id }), show)
}

function lineList(place) {
  const search = el('input', { type: 'search', id: 'line-search', placeholder: 'all lines', oninput: () => view.soon() })
  const serviceName = el('input', { type: 'search', id: 'line-service', placeholder: 'any', oninput: () => view.soon() })
  const level = el('select', { id: 'line-level', onchange: () => view.soon() }, [['', 'any'], ['debug', 'debug'], ['info', 'info'], ['warn', 'warn'], ['error', 'error']].map(([value, text]) => el('option', { value }, text)))
  const since = el('select', { id: 'line-since', onchange: () => view.soon() }, [['', 'all'], ['300', '5 minutes'], ['3600', 'an hour'], ['86400', 'a day']].map(([value, text]) => el('option', { value }, text)))
  const about = el('div')
  const box = el('div')
  place.append(about, el('div', { class: 'row' }, field('line-search', 'Search', search), field('line-service', 'Service', serviceName), field('line-level', 'At least', level), field('line-since', 'Since', since)), box)
  return polled('/api/lines', () => some({ search: search.value.trim(), service: serviceName.value.trim(), level: level.value, since: since.value }), answer => {
    put(about, [answer.state, answer.asked, answer.error], () => receiving(answer))
    const all = answer.lines || []
    put(box, [all, search.value.trim()], () => all.length ? sentLines(all, search.value.trim()) : el('p', { class: 'soft' }, 'No such line has come yet. What containers write is on the page of their service.'))
  })
}

const number = value => Number(value.toPrecision(6)).toLocaleString('en-US', { maximumSignificantDigits: 6 })
const labels = one => plain(Object.entries(one.attributes).map(([name, value]) => name + '=' + value).join(' '))

// Curves of the last hour in one picture; the table below has their names.
function curves(all) {
  const most = Math.max(...all.flatMap(one => one.values)) || 1
  const least = Math.min(0, ...all.flatMap(one => one.values))
  const longest = Math.max(...all.map(one => one.values.length), 2)
  const points = values => values.map((value, at) => [(600 * (longest - values.length + at) / (longest - 1)).toFixed(1), (110 - 104 * (value - least) / (most - least || 1)).toFixed(1)].join()).join(' ')
  return el('div', { class: 'card' }, svg('svg', { class: 'curves', viewBox: '0 0 600 116', preserveAspectRatio: 'none', 'aria-hidden': 'true' }, all.slice(0, 12).map((one, at) => svg('polyline', { class: 'curve' + at % 6, points: points(one.values) }))),
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
      put(pictures, [answer.series, answer.expression], () => !answer.series.length ? el('p', { class: 'soft' }, 'Prometheus has nothing of that within the last hour.') : [curves(answer.series),
        simple('Prometheus', ['Service', 'Metric', 'Labels', 'Last', ''], answer.series.map((one, at) => [[at < 12 ? el('span', { class: 'dot curve' + at % 6, 'aria-hidden': 'true' }) : null, plain(one.service)], plain(one.name), labels(one), number(one.value), chart(one.values.slice(-60), one.name)]))])
    }
    const all = answer.metrics || []
    put(box, [all, !!answer.usual], () => all.length ? simple('Metrics of the last hour; of a histogram its mean', ['Service', 'Metric', 'Attributes', 'Last', ''], all.map(one => [plain(one.service), plain(one.name),
      labels(one), number(one.value) + ' ' + plain(one.unit), chart(one.values.slice(-60), one.name)])) :
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
    found.broken.map(fault => el('div', { class: 'card' }, el('p', {}, badge('bad', fault.hop), ' ', plain(fault.text)),
      fault.names.length ? el('p', { class: 'soft' }, fault.names.join(', ')) : null, fault.hints.map(line => el('p', {}, plain(line))), fault.try.map(command))),
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
      return el(open ? 'div' : 'p', { class: open ? 'card' : '' }, badge(tone, word), ' ', el('strong', {}, found.check), ' ', plain(found.summary),
        open ? [found.detail.map(line => el('p', { class: 'soft' }, plain(line))),
          found.fix ? [el('p', {}, plain(found.fix.text)), found.fix.actions.length ? command(typed('doctor --fix ' + found.check)) : null] : null] : null)
    }))
}

// --- beginning

window.addEventListener('hashchange', route)
document.addEventListener('visibilitychange', connect)
$('platforms').addEventListener('change', event => { location.search = '?platform=' + encodeURIComponent(event.target.value) })
connect()
permission().then(route)
