// The page of a platform. All files of this folder are one script. Whatever comes from outside (names, labels, logs) is put in as text, never as HTML.
'use strict'

const $ = id => document.getElementById(id)
const NO_COLORS = /\x1b\[[0-9;:?<=>]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]|[\x00-\x08\x0b-\x1f\x7f]/g
const plain = text => text.replace(NO_COLORS, '')
const KEY = 'macula-key'
const MOST_LINES = 5000

let state = null // the last state that came
let connected = false
let allowed = false
let refusal = '' // why the link that led here let nobody in
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

// The parts that are open, each as its view has them: one that is made again, by itself or with the whole view, opens again.
const unfolded = new Set()
const partOf = part => route_of().join('/') + '#' + (part.getAttribute('data-part') || (part.querySelector('summary') || part).textContent)
const noteOpen = part => part.open ? unfolded.add(partOf(part)) : unfolded.delete(partOf(part))
// it does not bubble
document.addEventListener('toggle', event => { if (event.target.localName === 'details') noteOpen(event.target) }, true)

// Puts new content in only when it is other than what is there: what has the focus, is selected or open stays.
function put(place, signature, build) {
  const text = JSON.stringify(signature)
  if (place.signature === text) return
  place.signature = text
  const key = place.contains(document.activeElement) && document.activeElement.getAttribute('data-key')
  // the same address may be there twice: then the one in the same place has it
  const same = () => [...place.querySelectorAll('[data-key]')].filter(one => one.getAttribute('data-key') === key)
  const nth = key ? Math.max(0, same().indexOf(document.activeElement)) : 0
  // a part may have been opened this very moment
  if (place.isConnected) for (const part of place.querySelectorAll('details')) noteOpen(part)
  place.replaceChildren(...[build()].flat(9).filter(child => child !== null && child !== undefined && child !== false))
  for (const part of place.querySelectorAll('details')) if (unfolded.has(partOf(part))) part.open = true
  if (!key) return
  const found = same()
  if (found.length) (found[nth] || found.at(-1)).focus()
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

// whole seconds first: neither 60.0 s nor 1m60s
const inMinutes = seconds => Math.floor(seconds / 60) + 'm' + two(seconds % 60) + 's'
const millis = time => time < 1000 ? time + ' ms' : time < 59950 ? (time / 1000).toFixed(1) + ' s' : inMinutes(Math.round(time / 1000))

const MOODS = {
  healthy: ['good', 'healthy'], running: ['good', 'running'], finished: ['good', 'done'], starting: ['busy', 'starting'],
  restarting: ['bad', 'restarting'], unhealthy: ['bad', 'unhealthy'], crashed: ['bad', 'crashed'], out_of_memory: ['bad', 'out of memory'], gone: ['bad', 'gone'],
  created: ['bad', 'never started'], paused: ['idle', 'paused'], stopped: ['idle', 'stopped'], missing: ['idle', 'not started'],
  left_out: ['idle', 'left out'], unclaimed: ['idle', 'in no stack'],
}
const DOING = { start: 'starting …', stop: 'stopping …', restart: 'restarting …' }
// what this page does or has done, until a look from after it has come: service -> {mood, turns, held}
const done = new Map()
// why what was asked of it last has failed, until its own view has told: service -> error
const wentWrong = new Map()
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


// A table that scrolls by itself; `below`: under a heading that says what it is.
function simple(title, heads, rows, below) {
  return [below ? null : el('h2', {}, title), el('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': title }, el('table', {}, el('thead', {}, el('tr', {}, heads.map(head => el('th', { scope: 'col' }, head)))),
    el('tbody', {}, rows.map(row => el('tr', {}, row.map((cell, at) => el(at ? 'td' : 'th', at ? {} : { scope: 'row' }, cell)))))))]
}
