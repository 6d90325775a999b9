// --- talking to the background process
//
// A browser opens only six connections to an address, for all of its windows together. So nothing here holds one, but for
// logs that are followed, of which there are at most three at once.

const platform = () => new URLSearchParams(location.search).get('platform') || 'macula'
const query = more => new URLSearchParams({ platform: platform(), ...more }).toString()
const key = () => { try { return localStorage.getItem(KEY) || '' } catch { return '' } }
const later = millis => new Promise(done => setTimeout(done, millis))

async function ask(path, options, signal) {
  const headers = { 'x-macula-key': key(), ...(options && options.body ? { 'content-type': 'application/json' } : {}) }
  let answer
  try {
    // a network of the engine that comes or goes ends what a browser is loading
    answer = await fetch(path, { ...options, headers, signal }).catch(failure => {
      if (options || signal && signal.aborted) throw failure
      return later(500).then(() => fetch(path, { headers, signal }))
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

let lastNumber = 0 // the number of the last state
let turn = 0
let again = 0
let failures = 0
let tries = 0

// A tab that nobody sees asks nothing.
async function keepUp() {
  clearTimeout(again)
  const own = ++turn
  if (document.hidden) return
  let pause = 1000
  try {
    const answer = await fetch('/api/state?' + query({ known: String(lastNumber) }), { signal: AbortSignal.timeout(10000) })
    if (!answer.ok) throw new Error(String(answer.status))
    const found = answer.status === 200 ? await answer.json() : null
    if (own !== turn) return
    const back = failures > 1
    failures = 0
    // the first look takes a moment, or a minute where an engine hangs
    if (!found && !state) pause = Math.min(1000, 200 * ++tries)
    if (found) { lastNumber = found.number; take(found.state) } else if (back && state) { connected = true; render() }
  } catch {
    if (own !== turn) return
    failures++
    if (failures === 1) pause = 300
    else if (connected || !state) { connected = false; render() }
  }
  again = setTimeout(keepUp, pause)
}

function take(found) {
  connected = true
  state = found
  // what was refused here was done some other way
  const { platform: now, changes } = state.status || {}
  if (applying && applying !== 'busy' && now && !now.down && !changes.length) applying = null
  for (const [name, one] of done) if (!one.held && !(state.acting || {})[name]) done.delete(name)
  for (const row of (state.status || {}).services || []) {
    if (!row.usage) { used.delete(row.name); continue }
    const known = used.get(row.name) || { cpu: [], memory: [] }
    known.cpu = [...known.cpu, row.usage.cpu_percent].slice(-60)
    known.memory = [...known.memory, row.usage.memory].slice(-60)
    used.set(row.name, known)
  }
  render()
}

// One of the places for a stream that all windows of this address share: what gives it back, or null.
const STREAMS = 3

function lockOf(number) {
  return new Promise(done => {
    navigator.locks.request('macula stream ' + number, { ifAvailable: true }, held => held ? new Promise(release => done(release)) : done(null)).catch(() => done(null))
  })
}

async function streamPlace() {
  for (let number = 0; navigator.locks && number < STREAMS; number++) {
    const held = await lockOf(number)
    if (held) return held
  }
  return null
}
