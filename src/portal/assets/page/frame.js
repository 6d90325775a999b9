// --- the frame

const SECTIONS = [['', 'Services'], ['graph', 'Graph'], ['events', 'Events'], ['up', 'Last up'], ['traces', 'Traces'], ['names', 'Names'], ['doctor', 'Doctor']]

// The parts of what stands behind the `#`; behind its own `?` stands what a list is asked for.
const route_of = () => location.hash.replace(/^#\/?/, '').split('?')[0].split('/').map(decoded)

function frame() {
  const [here] = route_of()
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
  put($('problem'), [refusal, connected, state && state.problem, state && state.platforms && state.platforms.length, state && !!state.status, platform()], () => {
    if (!connected && state) return [
      el('p', {}, el('strong', {}, 'The background process does not answer.')),
      el('p', {}, 'It ends with the last platform. What is shown below is as it was. To start it again:'), command('macula open home')]
    const refused = refusal ? [el('p', {}, el('strong', {}, rich(refusal))), command('macula open home')] : []
    if (!state) return refused
    if (state.problem) return [refused, trouble(state.problem)]
    if (!state.status) return [refused,
      el('p', {}, el('strong', {}, 'There is no platform called ' + platform() + '.')),
      el('p', {}, 'Start it in the folder of your project:'),
      command(typed('up'))]
    return refused
  })
}

// What tells this tab from others.
function titled() {
  const [path, what] = route_of()
  if (path === 'service') return [what || 'Services']
  if (path === 'traces' && what) return [{ map: 'Map', lines: 'Log lines', metrics: 'Metrics' }[what] || 'Trace ' + short(what)]
  return [(SECTIONS.find(([section]) => section === path) || ['', 'No such page'])[1]]
}

function render() {
  frame()
  if (view && state) view.update()
}

function route(moved) {
  const parts = route_of()
  if (parts[0] === 'enter') return enter(parts[1])
  if (view && view.close) view.close()
  const place = $('view')
  place.replaceChildren()
  const views = { '': overview, service: () => detail(place, parts[1] || ''), graph: wholeGraph, events: eventList, up: runs, traces: () => traces(place, parts[1] || ''), names, doctor }
  view = (Object.hasOwn(views, parts[0]) ? views[parts[0]] : nowhere)(place)
  render()
  if (!moved) return
  refusal = ''
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
    refusal = (answer.error || {}).message || ''
    say(refusal)
  }
  await permission()
  // one that has its keys already needs no link
  if (allowed) refusal = ''
  route()
}

const move = () => route(true)

function nowhere(place) {
  place.append(el('h2', {}, 'No such page'), el('p', {}, 'Nothing is at ', el('code', {}, location.hash), '. ', el('a', { href: '#/' }, 'All services')))
  return { update() {} }
}

async function permission() {
  const answer = await ask('/api/allowed')
  allowed = answer.allowed === true
}

