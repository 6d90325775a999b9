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

// What an `up` has come to that was asked for in this window: 'busy', its error, or nothing. Another may be at one, too.
let applying = null
const isApplied = () => applying === 'busy' || !!(state && state.applying)
async function apply() {
  applying = 'busy'
  render()
  const answer = await post('/api/apply', { platform: platform() })
  applying = answer.error || null
  render()
}
const applies = word => allowed ? el('p', {}, el('button', { type: 'button', class: 'main', disabled: isApplied(), 'data-key': 'apply', onclick: apply }, isApplied() ? 'An up is at work …' : word),
  applying && !isApplied() ? trouble(applying) : null) : null

function summary(facts, notes, status) {
  const count = wanted => status.services.filter(row => mood(row)[0] === wanted).length
  const running = status.services.filter(isUp).length
  const stopped = status.services.filter(row => row.condition === 'stopped').length
  const away = !status.platform.down && !status.platform.owner && !reaches(status)
  const signature = [{ ...status.platform, up_seconds: minutes(status.platform.up_seconds) }, running, stopped, count('bad'), count('busy'), status.dns, state.folder, allowed, status.changes, status.drift, applying, isApplied()]
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
    status.platform.down ? el('div', { class: 'card' }, el('p', {}, 'The platform is down.'), applies('Start it'), command(typed('up'))) : null,
    status.platform.owner ? el('p', { class: 'why' }, 'It belongs to ' + status.platform.owner + '.') : null,
    status.dns.problem ? el('p', { class: 'why' }, 'Names: ', rich(status.dns.problem)) : null,
    away && !status.dns.problem ? el('p', {}, '*.' + status.platform.domain + ' does not resolve' + (status.dns.off ? ': the last up had --no-dns. ' : status.dns.address ? status.dns.healthy ? ' on this machine yet. Once for all platforms: ' : ': the resolver does not answer. ' : ': the resolver does not run. '),
      rich('`' + (status.dns.off ? typed('up --dns') : !status.dns.address ? typed('up') : status.dns.healthy ? 'macula dns install' : 'macula dns status') + '`')) : null,
    status.changes.length && !status.platform.down ? el('details', { class: 'card', 'data-part': 'changes', open: !!applying || isApplied() },
      el('summary', {}, 'An up would change ' + status.changes.join(', ')), status.drift.map(line => el('p', {}, el('code', {}, line))), applies('Apply'), command(typed('plan'))) : null,
    allowed ? null : el('p', { class: 'soft' }, 'This browser can only look. To start and stop services here: ', el('code', {}, 'macula open home'), copy('macula open home')),
  ])
}

function fill(row, found) {
  const [name, now, addresses, image, cpu, memory, restarts] = row.children
  put(name, [found.name, found.stack], () => [service(found.name), el('div', { class: 'soft' }, found.stack)])
  const [tone, word] = mood(found)
  const refused = wentWrong.get(found.name)
  put(now, [tone, word, age(found.seconds), found.reason, found.exit_code, lacks(found), needed(found), refused], () => [
    badge(tone === 'idle' && needed(found) ? 'busy' : tone, word), ' ', el('span', { class: 'soft' }, age(found.seconds)),
    found.reason && !changing(found) ? el('div', { class: tone === 'bad' ? 'why' : 'soft' }, rich(found.reason)) : null,
    tone === 'bad' && found.exit_code && !changing(found) && !(found.reason || '').includes('exit code') ? el('div', { class: 'why' }, 'exit code ' + found.exit_code) : null,
    lacks(found).length ? el('div', { class: 'why' }, lacking(found)) : null,
    refused ? el('div', { class: 'why' }, rich(refused.message || 'something went wrong')) : null])
  put(addresses, [found.urls, found.addresses, reaches(state.status)], () => [...found.urls, ...found.addresses].map(address))
  put(image, [found.image, found.image_source], () => found.image ? [el('code', {}, found.image), found.image_source === 'build' ? ' (a build)' : null] : [])
  const values = used.get(found.name)
  put(cpu, values && values.cpu, () => values ? [values.cpu.at(-1).toFixed(1) + ' %', chart(values.cpu, 'cpu')] : [])
  put(memory, values && values.memory, () => values ? [bytes(values.memory.at(-1)), chart(values.memory, 'memory')] : [])
  put(restarts, found.restarts, () => found.restarts ? [String(found.restarts)] : [])
}

function others(status) {
  const parts = []
  const domain = status && status.platform.domain
  const programs = state.programs || []
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

