// --- how programs reach a service; its passwords only when asked for, and never in an address

// Opened by whoever wants it, and asked for then.
function opened(title, key, look) {
  const box = el('div')
  const head = el('summary', {}, title)
  const part = el('details', { class: 'card', 'data-part': key, ontoggle: () => { if (part.open) look(box) } }, head, box)
  return { part, box, head, again() { if (part.open) look(box) } }
}

const LANGUAGE = { psql: 'shell', mariadb: 'shell', curl: 'shell', docker: 'shell', nats: 'shell', mosquitto_sub: 'shell', 'redis-cli': 'shell', 'AWS CLI': 'shell' }
const languageOf = one => LANGUAGE[one.language] || one.language.split(' ')[0]
let language = 'shell' // what was chosen last, for the next one

// One address, and how programs of each language open it.
function way(found, choose) {
  const chosen = found.snippets.find(one => languageOf(one) === language) || found.snippets[0]
  // a service may have two databases of a kind
  const called = found.title + ', ' + found.url
  return el('div', {}, el('h3', {}, found.title), el('p', {}, el('code', {}, found.url), found.url.includes('••••') ? null : copy(found.url), found.user ? [' user ', el('code', {}, found.user), copy(found.user, 'the user')] : null),
    el('div', { class: 'row', role: 'group', 'aria-label': 'Languages for ' + called }, found.snippets.map(one => el('button', { type: 'button', 'data-key': 'language ' + called + ' ' + one.language, 'aria-pressed': String(one === chosen), onclick: () => { language = languageOf(one); choose() } }, one.language))),
    chosen ? [chosen.install ? el('p', { class: 'soft' }, 'Needs ', el('code', {}, chosen.install), copy(chosen.install)) : null,
      el('div', { class: 'snippet' }, el('pre', { tabindex: '0', role: 'region', 'aria-label': chosen.language + ' for ' + called }, chosen.text), copy(chosen.text, 'the snippet'))] : null)
}

// `name`: a service; empty: what all programs are told. `only`: which ways, and nothing else.
function connecting(box, name, only) {
  let answer = null
  let asking = false
  const ways = () => (answer.ways || []).filter(one => !only || only(one))

  async function look(shown) {
    if (asking) return
    asking = true
    if (answer) show()
    const found = shown ? await post('/api/passwords', { platform: platform(), service: name }) : await ask('/api/connect?' + query({ service: name }))
    asking = false
    answer = found || { error: { message: 'nothing came back' } }
    show()
    if (shown && !answer.error) say('The passwords are shown.')
  }

  const show = () => put(box, [answer, language, allowed, !!answer.error && asking], () => {
    if (answer.error) return [trouble(answer.error), el('button', { type: 'button', 'data-key': 'again', onclick: () => look(false) }, asking ? 'looking …' : 'Try again')]
    if (only) return ways().length ? ways().map(one => way(one, show)) : el('p', { class: 'soft' }, 'Nothing takes it now.')
    const secrets = answer.credentials.length || answer.settings.some(one => one.secret)
    if (!ways().length && !secrets && !answer.settings.length) return el('p', { class: 'soft' }, 'It exports no settings, and has no passwords. Its addresses are above.')
    return [
      secrets ? el('div', { class: 'row' }, allowed ? el('button', { type: 'button', 'data-key': 'passwords', onclick: () => look(!answer.shown) }, answer.shown ? 'Hide passwords' : 'Show passwords') :
        [el('span', { class: 'soft' }, 'To see passwords here: '), el('code', {}, 'macula open home'), copy('macula open home')]) : null,
      answer.credentials.length ? el('dl', {}, answer.credentials.map(one => [el('dt', {}, el('code', {}, one.variable)), el('dd', {}, answer.shown ? [el('code', { class: 'password' }, one.value), copy(one.value, 'the value of ' + one.variable)] : '••••')])) : null,
      ways().map(one => way(one, show)),
      answer.settings.length ? [el('h3', {}, 'Variables'), el('p', { class: 'soft' }, 'Set in a shell by ', el('code', {}, 'eval "$(' + typed('env ' + name) + ' --format shell)"'), copy('eval "$(' + typed('env ' + name) + ' --format shell)"'), ', and for a program by ', el('code', {}, 'macula run'), '.'),
        el('dl', {}, answer.settings.map(one => [el('dt', {}, el('code', {}, one.name)), el('dd', {}, el('code', {}, one.value), one.value.includes('••••') ? null : copy(one.value, 'the value of ' + one.name))]))] : null]
  })
  box.replaceChildren(el('p', { class: 'soft' }, 'looking …'))
  look(false)
}

// --- what an `up` would do

const KINDS = { remove: 'would be removed', create: 'would be created', run: 'would run', recreate: 'would be made again', restart: 'would be restarted', start: 'would be started', stop: 'would be stopped', reload: 'would be reloaded', image: 'would get its image', await: 'would be waited for', other: 'would be changed' }

function planning(box, name) {
  // what was told before stays until there is something newer, and an answer that comes late replaces none
  const turn = box.turn = (box.turn || 0) + 1
  if (!box.firstChild) box.append(el('p', { class: 'soft' }, 'looking …'))
  ask('/api/plan?' + query({ service: name })).then(plan => {
    if (turn !== box.turn) return
    put(box, plan || null, () => {
      if (!plan || plan.error) return trouble((plan || {}).error || { message: 'nothing came back' })
      const steps = (plan.changes || []).filter(one => one.kind !== 'await')
      return [
        steps.length ? steps.map(one => el('div', {}, el('p', {}, el('strong', {}, one.name), ' ' + (KINDS[one.kind] || one.kind)), one.details.map(line => el('p', { class: 'soft step' }, rich(line))))) :
          el('p', {}, 'Nothing: it is as its files say.'),
        (plan.left_out || []).filter(one => one.service === name).map(one => el('p', {}, 'It would be left out: ', rich(one.reason))),
        steps.length ? command(typed('up ' + name)) : null]
    })
  })
}

// --- what has happened

const HAPPENED = { created: ['idle', 'created'], started: ['good', 'started'], restarted: ['busy', 'restarted'], healthy: ['good', 'healthy'], unhealthy: ['bad', 'unhealthy'], died: ['bad', 'ended'], paused: ['idle', 'paused'], unpaused: ['good', 'unpaused'], removed: ['idle', 'removed'], engine_lost: ['bad', 'the engine no longer answers'], engine_back: ['good', 'the engine answers again'] }

// The newest first; of one service, or of all.
function happened(place, name) {
  const { since, events, dropped } = (state || {}).happened || {}
  const found = (events || []).filter(one => !name || one.service === name).reverse()
  const kept = (events || []).length
  const from = since ? 'since ' + clock(new Date(since * 1000)) + ', when a page of this platform was opened' : 'since this page was opened'
  const all = !dropped ? 'All that happened ' + from : name ? 'Of the last ' + kept + ' events of this platform' : 'The last ' + kept + ' of the events ' + from
  put(place, [found, since, dropped, kept], () => !found.length ? el('p', { class: 'soft' }, dropped ? 'None of the last ' + kept + ' events of this platform is of this service.' : 'Nothing has happened ' + from + '.') : [
    simple('Events', ['Time', 'Service', 'Event'], found.map(one => {
      const [tone, word] = HAPPENED[one.event] || ['idle', one.event]
      const well = one.event === 'died' && one.exit_code === 0
      const more = [one.exit_code !== undefined && one.exit_code !== null && 'exit code ' + one.exit_code, one.out_of_memory && 'it needed more memory than its limit', one.late && 'while the engine was away'].filter(Boolean)
      return [timeOf(one.time), one.service ? service(one.service) : '', [badge(well ? 'idle' : tone, word), more.length ? ' ' + more.join(', ') : null]]
    }), true),
    el('p', { class: 'soft' }, all + '; in a terminal: ', rich('`' + typed('events' + (name ? ' ' + name : '')) + '`'))])
}

function eventList(place) {
  const box = el('div')
  place.append(el('h2', {}, 'What has happened'), box)
  return { update() { happened(box, '') } }
}
