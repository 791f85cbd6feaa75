//! The figures as a picture, for the README.

use std::path::Path;

use anyhow::Result;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::contest::{BARE, COPY, DRAIN, Line, NODE, NODE_BATCH, PYTHON, WORKER, Which, line};
use super::growth::Curve;
use super::report::Report;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Who has a bar, from above.
const BARS: [Which; 10] = [
    (WORKER, Some(25)),
    (NODE_BATCH, Some(25)),
    (PYTHON, Some(25)),
    (NODE, Some(25)),
    (WORKER, Some(0)),
    (NODE_BATCH, Some(0)),
    (NODE, Some(0)),
    (DRAIN, Some(0)),
    (BARE, None),
    (COPY, None),
];
const WIDTH: u32 = 1050;
const BAR: i32 = 26;
/// Above the bars.
const HEAD: i32 = 40;
/// Left of the bars.
const NAMES: i32 = 450;
const CURVES: u32 = 230;
const CONSUMER: RGBColor = RGBColor(0x1f, 0x6f, 0xb4);
const POSTGRES: RGBColor = RGBColor(0x8f, 0xb8, 0xde);
const OTHERS: RGBColor = RGBColor(0x8c, 0x95, 0x9f);
const INK: RGBColor = RGBColor(0x24, 0x29, 0x2f);
const FAINT: RGBColor = RGBColor(0xd0, 0xd7, 0xde);

/// Bars for all contenders, and a curve for each thing that varies.
pub fn draw(report: &Report, path: &Path) -> Result<()> {
    let lines: Vec<&Line> = BARS.iter().filter_map(|which| line(&report.lines, *which)).collect();
    let bars = if lines.is_empty() { 0 } else { bars_height(&lines) };
    let curves = if report.growth.is_empty() { 0 } else { CURVES };
    let size = (WIDTH, bars + curves);
    let root = SVGBackend::new(path, size).into_drawing_area();
    // It stands on light and on dark pages.
    root.fill(&WHITE)?;
    let (upper, lower) = root.split_vertically(bars);
    if bars > 0 {
        draw_bars(&upper, &lines)?;
    }
    if curves > 0 {
        for (panel, curve) in
            lower.split_evenly((1, report.growth.len())).iter().zip(&report.growth)
        {
            draw_curve(panel, curve)?;
        }
    }
    root.present()?;
    Ok(())
}

fn bars_height(lines: &[&Line]) -> u32 {
    u32::try_from(lines.len()).unwrap_or(0) * BAR.unsigned_abs() + HEAD.unsigned_abs() + 10
}

/// Events a second on the left; on the right the CPU of an event, of the consumer and of PostgreSQL.
fn draw_bars(area: &Area<'_>, lines: &[&Line]) -> Result<()> {
    let middle = NAMES + 255;
    text(area, "events per second", (NAMES, 14), 16, HPos::Left)?;
    text(area, "µs of CPU an event:", (middle, 14), 16, HPos::Left)?;
    for (name, colour, across) in [("consumer", CONSUMER, 160), ("PostgreSQL", POSTGRES, 250)] {
        let left = middle + across;
        area.draw(&Rectangle::new([(left, 9), (left + 9, 18)], colour.filled()))?;
        text(area, name, (left + 13, 14), 16, HPos::Left)?;
    }
    let most_rate = most(lines.iter().map(|line| line.median.events_per_second));
    let cpu = |line: &&Line| line.median.client_cpu_us + line.median.postgres_cpu_us.unwrap_or(0.0);
    let most_cpu = most(lines.iter().map(cpu));
    for (line, top) in lines.iter().zip((HEAD..).step_by(26)) {
        let (bottom, centre) = (top + BAR - 8, top + BAR / 2 - 4);
        let name = match line.latency_ms {
            Some(latency_ms) => format!("{}, {latency_ms} ms a call", line.name),
            None => line.name.to_owned(),
        };
        text(area, &name, (NAMES - 10, centre), 15, HPos::Right)?;
        let rate = line.median.events_per_second;
        let end = NAMES + length(rate, most_rate, 180);
        let colour = if line.name == WORKER { CONSUMER } else { OTHERS };
        area.draw(&Rectangle::new([(NAMES, top), (end, bottom)], colour.filled()))?;
        text(area, &thousands(rate), (end + 5, centre), 15, HPos::Left)?;
        let border = middle + length(line.median.client_cpu_us, most_cpu, 200);
        let end = middle + length(cpu(line), most_cpu, 200);
        area.draw(&Rectangle::new([(middle, top), (border, bottom)], CONSUMER.filled()))?;
        area.draw(&Rectangle::new([(border, top), (end, bottom)], POSTGRES.filled()))?;
        let sum = match line.median.postgres_cpu_us {
            Some(postgres) => format!("{:.0} + {postgres:.0}", line.median.client_cpu_us),
            None => format!("{:.0}", line.median.client_cpu_us),
        };
        text(area, &sum, (end + 5, centre), 15, HPos::Left)?;
    }
    Ok(())
}

/// Events a second by what varies, at even distances.
fn draw_curve(area: &Area<'_>, curve: &Curve) -> Result<()> {
    let rates: Vec<(f64, f64)> = (0_u32..)
        .zip(&curve.points)
        .map(|(index, (_, cost))| (f64::from(index), cost.events_per_second))
        .collect();
    let last = f64::from(u32::try_from(rates.len().max(2) - 1)?);
    let highest = most(rates.iter().map(|(_, rate)| *rate)) * 1.15;
    let mut chart = ChartBuilder::on(area)
        .caption(format!("events/s by {}", curve.by), ("sans-serif", 17, &INK))
        .margin(10)
        .x_label_area_size(24)
        .y_label_area_size(46)
        .build_cartesian_2d(-0.3..last + 0.3, 0.0..highest)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(FAINT)
        .axis_style(FAINT)
        .label_style(("sans-serif", 14, &INK))
        .x_labels(0)
        .y_labels(5)
        .y_label_formatter(&|rate| thousands(*rate))
        .draw()?;
    chart.draw_series(LineSeries::new(rates.iter().copied(), CONSUMER.stroke_width(2)))?;
    for ((x, rate), (value, _)) in rates.iter().zip(&curve.points) {
        let (across, down) = chart.backend_coord(&(*x, *rate));
        let (_, floor) = chart.backend_coord(&(*x, 0.0));
        let origin = area.get_base_pixel();
        let at = |x: i32, y: i32| (x - origin.0, y - origin.1);
        area.draw(&Circle::new(at(across, down), 3, CONSUMER.filled()))?;
        text(area, &short(*value), at(across, floor + 12), 14, HPos::Center)?;
    }
    Ok(())
}

fn text(area: &Area<'_>, what: &str, at: (i32, i32), size: i32, anchor: HPos) -> Result<()> {
    let style = ("sans-serif", size).into_font().color(&INK).pos(Pos::new(anchor, VPos::Center));
    Ok(area.draw_text(what, &style, at)?)
}

fn most(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(1.0, f64::max)
}

#[expect(clippy::cast_possible_truncation, clippy::as_conversions, reason = "pixels")]
fn length(value: f64, most: f64, pixels: i32) -> i32 {
    (value / most * f64::from(pixels)).round() as i32
}

/// As 12,345.
fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// As 5k or 20M.
fn short(value: u64) -> String {
    match value {
        1_000_000.. => format!("{}M", value / 1_000_000),
        10_000.. => format!("{}k", value / 1_000),
        _ => value.to_string(),
    }
}
