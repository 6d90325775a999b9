use insta::assert_snapshot;

use super::*;
use crate::app::{Counts, MachineUsage, PlatformStatus, ProcessStanding, ServiceState, TopState, TopTotal};
use crate::model::Health;

const PLAIN: Style = Style { color: false, unicode: true };
const MIB: u64 = 1 << 20;

fn row(name: &str, condition: Condition, usage: Option<Rates>) -> TopRow {
    TopRow {
        name: name.into(),
        kind: TopKind::Service,
        stack: "postgres".into(),
        state: TopState::Service(if condition.runs() { ServiceState::Running } else { ServiceState::Stopped }),
        health: Health::None,
        condition,
        reason: None,
        restarts: 0,
        seconds: Some(750),
        usage,
        requests_per_second: None,
    }
}

fn program(name: &str, runs: bool) -> TopRow {
    let (standing, condition) = match runs {
        true => (ProcessStanding::Running, Condition::Running),
        false => (ProcessStanding::Finished, Condition::Finished),
    };
    TopRow {
        kind: TopKind::Program,
        stack: String::new(),
        state: TopState::Process(standing),
        ..row(name, condition, if runs { used(1.5, 20, 0) } else { None })
    }
}

fn used(cpu_percent: f64, memory: u64, network: u64) -> Option<Rates> {
    Some(Rates {
        cpu_percent,
        memory: memory * MIB,
        memory_limit: 512 * MIB,
        received_per_second: Some(network),
        sent_per_second: Some(network / 3),
        read_per_second: Some(0),
        written_per_second: None,
    })
}

fn top() -> Top {
    let services = vec![
        row("postgres", Condition::Healthy, used(12.34, 210, 41_200)),
        TopRow {
            restarts: 7,
            reason: Some("crash loop: restarted 7 times".into()),
            ..row("shop", Condition::Restarting, None)
        },
        TopRow {
            kind: TopKind::Process,
            stack: String::new(),
            seconds: Some(40),
            usage: used(187.0, 96, 0).map(|usage| Rates { received_per_second: None, sent_per_second: None, ..usage }),
            ..row("api", Condition::Running, None)
        },
        row("a-service-with-a-name-of-its-own", Condition::Unhealthy, used(0.0, 1023, 1_250_000)),
        row("cart", Condition::Stopped, None),
        TopRow {
            reason: Some("docker.io cannot be reached".into()),
            seconds: None,
            ..row("grafana", Condition::LeftOut, None)
        },
        program("pay", true),
        program("old", false),
    ];
    Top {
        platform: PlatformStatus {
            name: "macula".into(),
            domain: "macula.local".into(),
            incomplete: false,
            unread: None,
            down: false,
            volumes: 2,
            owner: None,
            at_work: None,
            up_seconds: Some(750),
            elsewhere: std::collections::BTreeSet::new(),
        },
        machine: Some(MachineUsage {
            cpus: 2,
            cpu_percent: 134.2,
            memory: 7 * 1024 * MIB,
            memory_used: 3 * 1024 * MIB + 100 * MIB,
        }),
        total: TopTotal { cpu_percent: 199.3, memory: 1329 * MIB },
        services,
        counts: Counts { running: 2, failing: 2, stopped: 1, ..Counts::default() },
    }
}

fn screen() -> TopScreen {
    TopScreen::new(top(), Sort::Cpu)
}

fn picture(screen: &mut TopScreen, columns: usize, rows: usize) -> String {
    screen.lines(Size { columns, rows }, PLAIN).join("\n")
}

#[test]
fn eighty_columns() {
    assert_snapshot!(picture(&mut screen(), 80, 24), @r"
    macula · up 12m · 2 running, 2 failing, 1 stopped
    platform 199.3% CPU, 1.2 GiB · machine 134.2% of 200%, 3 GiB of 7 GiB
       NAME                      STATE          CPU▾    MEMORY     LIMIT    UP
    ▸✖ a-service-with-a-name-o…  unhealthy      0.0%  1023 MiB   512 MiB   12m
     ✖ shop                      restarting
     ✔ api                       running      187.0%    96 MiB   512 MiB   40s
     ✔ postgres                  healthy       12.3%   210 MiB   512 MiB   12m
     ✔ pay                       running        1.5%    20 MiB   512 MiB   12m
     ○ cart                      stopped
     ○ old                       ended
     ○ grafana                   left out












    q quit  ? keys  enter log  r restart  / filter  c CPU  m memory  n name
    ");
}

#[test]
fn a_wide_terminal_has_it_all() {
    assert_snapshot!(picture(&mut screen(), 120, 40), @r"
    macula · up 12m · 2 running, 2 failing, 1 stopped
    platform 199.3% CPU, 1.2 GiB · machine 134.2% of 200%, 3 GiB of 7 GiB
       NAME                      STATE          CPU▾    MEMORY     LIMIT  NET IN/s     OUT/s  RESTARTS    UP
    ▸✖ a-service-with-a-name-o…  unhealthy      0.0%  1023 MiB   512 MiB    1.2 MB  416.6 kB         0   12m
     ✖ shop                      restarting                                                          7
     ✔ api                       running      187.0%    96 MiB   512 MiB         -         -         0   40s
     ✔ postgres                  healthy       12.3%   210 MiB   512 MiB   41.2 kB   13.7 kB         0   12m
     ✔ pay                       running        1.5%    20 MiB   512 MiB         0         0         0   12m
     ○ cart                      stopped                                                             0
     ○ old                       ended                                                               0
     ○ grafana                   left out                                                            0




























    q quit  ? keys  enter log  r restart  / filter  c CPU  m memory  n name
    ");
}

#[test]
fn forty_columns_have_name_cpu_and_memory() {
    assert_snapshot!(picture(&mut screen(), 40, 20), @r"
    macula · up 12m · 2 running, 2 failing…
    platform 199.3% CPU, 1.2 GiB
    machine 134.2% of 200%, 3 GiB of 7 GiB
       NAME                  CPU▾    MEMORY
    ▸✖ a-service-with-a…     0.0%  1023 MiB
     ✖ shop
     ✔ api                 187.0%    96 MiB
     ✔ postgres             12.3%   210 MiB
     ✔ pay                   1.5%    20 MiB
     ○ cart
     ○ old
     ○ grafana







    q quit  ? keys  enter log  r restart
    ");
}

#[test]
fn columns_give_way_in_a_fixed_order() {
    let mut top = top();
    top.services[0].requests_per_second = Some(2.5);
    let rows: Vec<&TopRow> = top.services.iter().collect();
    let mut before = columns(&rows, 200).len();
    assert_eq!(before, COLUMNS.len());
    for width in (39..200).rev() {
        let now = columns(&rows, width);
        assert!(now.len() <= before, "{width}");
        before = now.len();
        let there = |column: Column| now.iter().any(|(one, _)| *one == column);
        assert!(there(Column::Name) && there(Column::Cpu) && there(Column::Memory), "{width}");
        let gone = GIVE_WAY.iter().take_while(|group| !there(group[0])).count();
        assert!(GIVE_WAY[gone..].iter().all(|group| group.iter().all(|column| there(*column))), "{width}");
    }
}

#[test]
fn no_size_breaks_the_picture() {
    let mut screen = screen();
    for columns in 1..200 {
        for rows in [1, 2, 3, 5, 8, 24] {
            let lines = screen.lines(Size { columns, rows }, PLAIN);
            assert_eq!(lines.len(), rows, "{columns}x{rows}");
            let wide = lines.iter().find(|line| text::width(line) > columns);
            assert_eq!(wide, None, "{columns}x{rows}");
        }
    }
}

fn names(screen: &TopScreen) -> Vec<&str> {
    screen.rows().iter().map(|row| row.name.as_str()).collect()
}

#[test]
fn thirty_columns_and_six_rows() {
    assert_snapshot!(picture(&mut screen(), 30, 6), @r"
    macula · up 12m · 2 running,…
    platform 199.3% CPU, 1.2 GiB
    machine 134.2% of 200%, 3 Gi…
       NAME        CPU▾    MEMORY
    ▸✖ a-serv…     0.0%  1023 MiB
    1-1 of 8  q quit  ? keys
    ");
}

#[test]
fn all_keys_are_shown_where_somebody_asks() {
    let mut screen = screen();
    assert_eq!(screen.key(Key::Char('?')), Order::Nothing);
    assert_snapshot!(picture(&mut screen, 40, 18), @r"
    keys
    arrows, j, k  choose a row
    page keys     a screen further
    home, end     first, last row
    enter         log of the chosen row
    r             restart it, if you say y
    /             filter by name or state
    esc           end the filter
    c, m, n       sort: CPU, memory, name
    q, Ctrl-C     quit

    in a log
    arrows, home  go back in it
    /             only lines with a text
    q, esc        back to the list


    q back
    ");
    // a key does nothing but lead back
    assert_eq!(screen.key(Key::Char('r')), Order::Nothing);
    assert!(picture(&mut screen, 40, 18).starts_with("keys"));
    assert_eq!(screen.key(Key::Char('q')), Order::Nothing);
    assert!(picture(&mut screen, 40, 18).starts_with("macula"));
    for columns in [30, 40, 80, 200] {
        assert!(picture(&mut screen, columns, 20).lines().last().unwrap().contains("? keys"), "{columns}");
    }
}

#[test]
fn keys_sort_and_filter() {
    let mut screen = screen();
    assert_eq!(
        names(&screen),
        ["a-service-with-a-name-of-its-own", "shop", "api", "postgres", "pay", "cart", "old", "grafana"]
    );
    assert_eq!(screen.key(Key::Char('m')), Order::Nothing);
    assert_eq!(names(&screen)[..4], ["a-service-with-a-name-of-its-own", "shop", "postgres", "api"]);
    screen.key(Key::Char('n'));
    assert_eq!(
        names(&screen),
        ["a-service-with-a-name-of-its-own", "shop", "api", "cart", "pay", "postgres", "old", "grafana"]
    );
    for key in [Key::Char('/'), Key::Char('S'), Key::Char('h'), Key::Char('x')] {
        screen.key(key);
    }
    assert!(picture(&mut screen, 80, 10).contains("the filter leaves nothing"));
    screen.key(Key::Backspace);
    assert_eq!(names(&screen), ["shop"]);
    // letters are letters until the filter is left
    screen.key(Key::Char('q'));
    screen.key(Key::Backspace);
    assert_eq!(screen.key(Key::Enter), Order::Nothing);
    assert!(
        picture(&mut screen, 80, 10)
            .ends_with("filter: Sh (esc)  q quit  ? keys  enter log  r restart  / filter  c CPU")
    );
    screen.key(Key::Escape);
    assert_eq!(names(&screen).len(), 8);
    // by stack and by state, too
    screen.key(Key::Char('/'));
    "stopped".chars().for_each(|c| drop(screen.key(Key::Char(c))));
    assert_eq!(names(&screen), ["cart"]);
    assert_eq!(screen.key(Key::Escape), Order::Nothing);
    assert_eq!(screen.key(Key::Char('q')), Order::Quit);
}

/// The row with the mark.
fn chosen(screen: &mut TopScreen) -> String {
    let picture = picture(screen, 80, 24);
    let line = picture.lines().find(|line| line.starts_with('▸')).unwrap_or_default();
    line.chars().skip(2).collect::<String>().split_whitespace().next().unwrap_or_default().to_owned()
}

#[test]
fn the_chosen_row_stays_with_its_service_wherever_it_goes() {
    let mut screen = screen();
    // the first one, too, before any key
    assert_eq!(chosen(&mut screen), "a-service-with-a-name-o…");
    let mut better = top();
    for row in better.services.iter_mut().filter(|row| row.name.starts_with("a-")) {
        row.condition = Condition::Healthy;
    }
    screen.now(better);
    assert!(picture(&mut screen, 80, 24).lines().nth(3).unwrap().starts_with(" ✖ shop"));
    assert_eq!(chosen(&mut screen), "a-service-with-a-name-o…");
    screen.key(Key::Home);
    assert_eq!(screen.key(Key::Enter), Order::Log(TopKind::Service, "shop".into()));
    assert_eq!(screen.key(Key::Escape), Order::EndLog);
    screen.now(top());
    assert_eq!(chosen(&mut screen), "shop");
    // it is gone: the first one stands in for it
    let mut less = top();
    less.services.retain(|row| row.name != "shop");
    screen.now(less);
    assert_eq!(chosen(&mut screen), "a-service-with-a-name-o…");
    let lines = screen.lines(Size { columns: 80, rows: 7 }, PLAIN);
    assert!(lines[6].starts_with("1-3 of 7  q quit"), "{lines:#?}");
}

#[test]
fn what_is_wrong_with_the_chosen_one_has_a_line() {
    let mut screen = screen();
    screen.key(Key::Down);
    assert!(picture(&mut screen, 80, 24).contains("\nshop: crash loop: restarted 7 times\n"));
    screen.key(Key::End);
    assert!(picture(&mut screen, 80, 24).contains("\ngrafana: docker.io cannot be reached\n"));
    assert_eq!(screen.key(Key::Enter), Order::Nothing);
    assert!(picture(&mut screen, 80, 24).ends_with("\ngrafana is left out: docker.io cannot be reached"));
}

#[test]
fn a_program_has_a_log_and_belongs_to_its_terminal() {
    let mut screen = screen();
    screen.key(Key::Char('/'));
    "pay".chars().for_each(|c| drop(screen.key(Key::Char(c))));
    screen.key(Key::Enter);
    assert_eq!(screen.key(Key::Char('r')), Order::Nothing);
    assert!(
        picture(&mut screen, 100, 24).ends_with("\npay belongs to the `macula run` that started it, in its terminal")
    );
    assert_eq!(screen.key(Key::Enter), Order::Log(TopKind::Program, "pay".into()));
}

#[test]
fn a_restart_needs_a_yes() {
    let mut screen = screen();
    screen.key(Key::Down);
    screen.key(Key::Down);
    screen.key(Key::Char('r'));
    assert!(picture(&mut screen, 80, 10).ends_with("\nRestart api? y or n"));
    assert_eq!(screen.key(Key::Enter), Order::Nothing);
    assert!(!picture(&mut screen, 80, 10).contains("Restart"));
    screen.key(Key::Char('r'));
    assert_eq!(screen.key(Key::Char('y')), Order::Restart(TopKind::Process, "api".into()));
    screen.notice(Tone::Good, "restarted api".into());
    assert!(picture(&mut screen, 80, 10).ends_with("\nrestarted api"));
    screen.key(Key::Down);
    assert!(!picture(&mut screen, 80, 10).contains("restarted"));
}

#[test]
fn an_engine_that_is_gone_is_said_until_it_is_back() {
    let mut screen = screen();
    screen.stale("the engine does not answer".into());
    assert!(picture(&mut screen, 80, 10).contains("\nthe engine does not answer\n"));
    screen.now(top());
    assert!(!picture(&mut screen, 80, 10).contains("the engine"));
}

#[test]
fn who_looks_once_gets_the_table_alone() {
    let lines = once(&top(), Sort::Memory, 160, PLAIN);
    assert!(lines[3].starts_with(" ✖ a-service-with-a-name-o…  unhealthy"), "{lines:#?}");
    assert_eq!(lines.len(), 2 + 1 + 8);
    assert!(lines[4].ends_with("crash loop: restarted 7 times"), "{lines:#?}");
    let ascii = once(&top(), Sort::Cpu, 160, Style::default());
    assert!(ascii.iter().all(|line| line.is_ascii()), "{ascii:#?}");
}

fn log() -> TopScreen {
    let mut screen = screen();
    screen.key(Key::Down);
    screen.key(Key::Enter);
    screen
}

#[test]
fn a_log_has_times_and_breaks_long_lines() {
    let mut screen = log();
    assert_snapshot!(picture(&mut screen, 60, 4), @r"
    log of shop
    nothing was written

    q back  / search  up, page up scroll
    ");
    screen.log_line("2026-11-29T12:00:01.5Z", "\x1b[31mready\x1b[0m\x1b[2J");
    screen.log_line("2026-11-29T12:00:02Z", "ERROR something that takes its time, and the cause stands at the end");
    screen.log_line("", "-- shop ended (3)");
    assert_snapshot!(picture(&mut screen, 60, 8), @r"
    log of shop, times in UTC
    12:00:01 ready
    12:00:02 ERROR something that takes its time, and the cause
             stands at the end
             -- shop ended (3)


    q back  / search  up, page up scroll
    ");
    // no room for times
    assert_snapshot!(picture(&mut screen, 30, 5), @r"
    log of shop
    its time, and the cause
    stands at the end
    -- shop ended (3)
    q back  / search  up, page u…
    ");
    screen.key(Key::Home);
    assert_snapshot!(picture(&mut screen, 30, 5), @r"
    log of shop
    ready
    ERROR something that takes
    its time, and the cause
    2 below  q back  / search  u…
    ");
    screen.key(Key::PageDown);
    assert!(picture(&mut screen, 30, 5).contains("-- shop ended (3)"));
    screen.key(Key::PageUp);
    assert!(picture(&mut screen, 30, 5).contains("ready"));
    assert_eq!(screen.key(Key::Char('r')), Order::Nothing);
    assert_eq!(screen.key(Key::Char('q')), Order::EndLog);
}

#[test]
fn what_is_being_read_in_a_log_stays_where_it_is() {
    let mut screen = log();
    for number in 1..=4 {
        screen.log_line("2026-11-29T12:00:01Z", &format!("line {number}"));
    }
    picture(&mut screen, 60, 5);
    screen.key(Key::Up);
    screen.log_line("2026-11-29T12:00:02Z", "one that takes two lines where there are no more than sixty columns");
    assert_snapshot!(picture(&mut screen, 60, 5), @r"
    log of shop, times in UTC
    12:00:01 line 1
    12:00:01 line 2
    12:00:01 line 3
    3 below  q back  / search  up, page up scroll
    ");
    screen.key(Key::End);
    assert!(picture(&mut screen, 60, 5).contains("columns"));
}

#[test]
fn a_log_is_searched() {
    let mut screen = log();
    for number in 0..30 {
        screen
            .log_line("2026-11-29T12:00:01Z", &format!("line {number} {}", if number == 3 { "FATAL" } else { "fine" }));
    }
    screen.key(Key::Char('/'));
    "fatal".chars().for_each(|c| drop(screen.key(Key::Char(c))));
    assert_snapshot!(picture(&mut screen, 60, 5), @r"
    log of shop, times in UTC
    12:00:01 line 3 FATAL


    search: fatal_  enter keep  esc clear
    ");
    // letters are letters
    screen.key(Key::Char('q'));
    assert!(picture(&mut screen, 60, 5).contains("none of the last 30 lines has this text"));
    screen.key(Key::Backspace);
    screen.key(Key::Enter);
    assert!(picture(&mut screen, 60, 5).ends_with("1 with fatal (esc)  q back  / search  up, page up scroll"));
    // the search ends first, then the log
    assert_eq!(screen.key(Key::Escape), Order::Nothing);
    assert!(picture(&mut screen, 60, 5).contains("line 29 fine"));
    assert_eq!(screen.key(Key::Escape), Order::EndLog);
}

#[test]
fn requests_have_a_column_where_they_are_counted() {
    let mut counted = top();
    for (row, rate) in counted.services.iter_mut().zip([Some(0.0), Some(1234.56)]) {
        row.requests_per_second = rate;
    }
    let of = |top: &Top, width: usize| -> Vec<String> { once(top, Sort::Name, width, PLAIN) };
    let line = |lines: &[String], with: &str| lines.iter().find(|line| line.contains(with)).cloned().unwrap();
    let wide = of(&counted, 160);
    assert!(line(&wide, "NAME").contains("LIMIT    REQ/s  NET IN/s"), "{wide:#?}");
    assert!(line(&wide, "postgres").contains("  0.0  ") && line(&wide, "shop").contains(" 1234.6 "), "{wide:#?}");
    // they are worth more than a limit that stays the same
    let narrow = of(&counted, 80);
    assert!(line(&narrow, "NAME").contains("REQ/s") && !line(&narrow, "NAME").contains("LIMIT"), "{narrow:#?}");
    assert!(!line(&of(&top(), 160), "NAME").contains("REQ/s"));
}
