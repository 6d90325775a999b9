use insta::assert_snapshot;

use super::*;
use crate::app::{MachineUsage, PlatformStatus, ServiceState, TopState, TopTotal};
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
        restarts: 0,
        seconds: Some(750),
        usage,
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
        TopRow { restarts: 7, ..row("shop", Condition::Restarting, None) },
        TopRow {
            kind: TopKind::Process,
            stack: String::new(),
            seconds: Some(40),
            usage: used(187.0, 96, 0).map(|usage| Rates { received_per_second: None, sent_per_second: None, ..usage }),
            ..row("api", Condition::Running, None)
        },
        row("a-service-with-a-name-of-its-own", Condition::Unhealthy, used(0.0, 1023, 1_250_000)),
        row("cart", Condition::Stopped, None),
    ];
    Top {
        platform: PlatformStatus {
            name: "macula".into(),
            domain: "macula.local".into(),
            incomplete: false,
            down: false,
            volumes: 2,
            owner: None,
            at_work: None,
            up_seconds: Some(750),
        },
        machine: Some(MachineUsage {
            cpus: 2,
            cpu_percent: 134.2,
            memory: 7 * 1024 * MIB,
            memory_used: 3 * 1024 * MIB + 100 * MIB,
        }),
        total: TopTotal { cpu_percent: 199.3, memory: 1329 * MIB },
        services,
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
    ▸✔ api                       running      187.0%    96 MiB   512 MiB   40s
     ✔ postgres                  healthy       12.3%   210 MiB   512 MiB   12m
     ✖ a-service-with-a-name-o…  unhealthy      0.0%  1023 MiB   512 MiB   12m
     ○ cart                      stopped
     ✖ shop                      restarting















    q quit  enter log  r restart  / filter  c CPU  m memory  n name
    ");
}

#[test]
fn a_wide_terminal_has_it_all() {
    assert_snapshot!(picture(&mut screen(), 120, 40), @r"
    macula · up 12m · 2 running, 2 failing, 1 stopped
    platform 199.3% CPU, 1.2 GiB · machine 134.2% of 200%, 3 GiB of 7 GiB
       NAME                      STATE          CPU▾    MEMORY     LIMIT  NET IN/s     OUT/s  RESTARTS    UP
    ▸✔ api                       running      187.0%    96 MiB   512 MiB         -         -         0   40s
     ✔ postgres                  healthy       12.3%   210 MiB   512 MiB   41.2 kB   13.7 kB         0   12m
     ✖ a-service-with-a-name-o…  unhealthy      0.0%  1023 MiB   512 MiB    1.2 MB  416.6 kB         0   12m
     ○ cart                      stopped                                                             0
     ✖ shop                      restarting                                                          7































    q quit  enter log  r restart  / filter  c CPU  m memory  n name
    ");
}

#[test]
fn forty_columns_have_name_cpu_and_memory() {
    assert_snapshot!(picture(&mut screen(), 40, 20), @r"
    macula · up 12m · 2 running, 2 failing…
    platform 199.3% CPU, 1.2 GiB
    machine 134.2% of 200%, 3 GiB of 7 GiB
       NAME                  CPU▾    MEMORY
    ▸✔ api                 187.0%    96 MiB
     ✔ postgres             12.3%   210 MiB
     ✖ a-service-with-a…     0.0%  1023 MiB
     ○ cart
     ✖ shop










    q quit  enter log  r restart  / filter
    ");
}

#[test]
fn columns_give_way_in_a_fixed_order() {
    let top = top();
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
fn keys_sort_and_filter() {
    let mut screen = screen();
    assert_eq!(names(&screen), ["api", "postgres", "a-service-with-a-name-of-its-own", "cart", "shop"]);
    assert_eq!(screen.key(Key::Char('m')), Order::Nothing);
    assert_eq!(names(&screen)[..3], ["a-service-with-a-name-of-its-own", "postgres", "api"]);
    screen.key(Key::Char('n'));
    assert_eq!(names(&screen), ["a-service-with-a-name-of-its-own", "api", "cart", "postgres", "shop"]);
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
            .ends_with("filter: Sh (esc)  q quit  enter log  r restart  / filter  c CPU  m memory")
    );
    screen.key(Key::Escape);
    assert_eq!(names(&screen).len(), 5);
    // by stack and by state, too
    screen.key(Key::Char('/'));
    "stopped".chars().for_each(|c| drop(screen.key(Key::Char(c))));
    assert_eq!(names(&screen), ["cart"]);
    assert_eq!(screen.key(Key::Escape), Order::Nothing);
    assert_eq!(screen.key(Key::Char('q')), Order::Quit);
}

#[test]
fn the_chosen_row_stays_chosen_wherever_it_goes() {
    let mut screen = screen();
    let size = Size { columns: 80, rows: 7 };
    screen.lines(size, PLAIN);
    screen.key(Key::Down);
    screen.key(Key::Char('n'));
    let lines = screen.lines(size, PLAIN);
    assert!(lines.iter().any(|line| line.starts_with("▸✔ postgres")), "{lines:#?}");
    assert!(lines[6].starts_with("2-4 of 5  q quit"), "{lines:#?}");
    assert_eq!(screen.key(Key::Enter), Order::Log(TopKind::Service, "postgres".into()));
    screen.log_line("\x1b[31mready\x1b[0m\x1b[2J");
    assert_snapshot!(screen.lines(Size { columns: 30, rows: 5 }, PLAIN).join("\n"), @r"
    log of postgres
    ready


    q back  up and down scroll
    ");
    screen.log_line("2026-11-29 12:00:00 ERROR the cause stands at the end");
    screen.log_line("done");
    let small = Size { columns: 30, rows: 5 };
    assert_snapshot!(screen.lines(small, PLAIN).join("\n"), @r"
    log of postgres
    2026-11-29 12:00:00 ERROR the
    cause stands at the end
    done
    q back  up and down scroll
    ");
    screen.key(Key::Home);
    assert_snapshot!(screen.lines(small, PLAIN).join("\n"), @r"
    log of postgres
    ready
    2026-11-29 12:00:00 ERROR the
    cause stands at the end
    1 below  q back  up and down…
    ");
    screen.key(Key::Down);
    assert!(screen.lines(small, PLAIN)[3].starts_with("done"));
    assert_eq!(screen.key(Key::Char('r')), Order::Nothing);
    assert_eq!(screen.key(Key::Char('q')), Order::EndLog);
    screen.key(Key::End);
    assert!(screen.lines(size, PLAIN).iter().any(|line| line.starts_with("▸✖ shop")));
    // it is gone: the first one stands in for it
    let mut less = top();
    less.services.retain(|row| row.name != "shop");
    screen.now(less);
    assert!(screen.lines(size, PLAIN).iter().any(|line| line.starts_with("▸✖ a-service")));
}

#[test]
fn a_restart_needs_a_yes() {
    let mut screen = screen();
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
    assert_eq!(lines.len(), 2 + 1 + 5);
    let ascii = once(&top(), Sort::Cpu, 160, Style::default());
    assert!(ascii.iter().all(|line| line.is_ascii()), "{ascii:#?}");
}
