//! The picture of a training run: the loss of each step beside the accuracies of each epoch.

use std::error::Error;
use std::fs;
use std::path::Path;

use kasoku_nn::trainer::History;
use plotters::coord::Shift;
use plotters::prelude::*;

const LOSS: RGBColor = RGBColor(76, 114, 176);
const TRAIN: RGBColor = RGBColor(85, 168, 104);
const TEST: RGBColor = RGBColor(196, 78, 82);
const SIZE: (u32, u32) = (1000, 380);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Whether [`save`] can write to `path`, as far as that is known beforehand.
pub fn check_path(path: &Path) -> Result<()> {
    if path.extension().is_none_or(|extension| extension != "svg") {
        return Err(format!("{}: the name must end in .svg", path.display()).into());
    }
    match folder(path) {
        folder if folder.is_dir() => Ok(()),
        folder => Err(format!("there is no folder {}", folder.display()).into()),
    }
}

/// Writes the picture to `path`: beside it first, then renamed when whole.
pub fn save(history: &History, path: &Path) -> Result<()> {
    let mut picture = String::new();
    draw(history, &SVGBackend::with_string(&mut picture, SIZE).into_drawing_area())?;
    let part = path.with_extension("svg.part");
    let written = fs::write(&part, picture).and_then(|()| fs::rename(&part, path));
    Ok(written.inspect_err(|_| drop(fs::remove_file(&part)))?)
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn draw(history: &History, picture: &Area<'_>) -> Result<()> {
    picture.fill(&WHITE)?;
    let (left, right) = picture.split_horizontally(SIZE.0 / 2);
    loss(&history.losses, &left)?;
    accuracy(history, &right)?;
    Ok(picture.present()?)
}

fn loss(losses: &[f64], area: &Area<'_>) -> Result<()> {
    let largest = losses.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    // A logarithm: no loss of zero, and no more than five decades for the sake of a single step.
    let smallest = losses.iter().copied().fold(largest, f64::min).max(largest * 1e-5);
    let mut chart = ChartBuilder::on(area)
        .caption("Loss", ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(62)
        .build_cartesian_2d(0..losses.len(), (smallest * 0.9..largest * 1.1).log_scale())?;
    chart
        .configure_mesh()
        .x_desc("step")
        .y_desc("cross-entropy")
        .x_labels(6)
        .y_labels(5)
        .y_label_formatter(&|loss| format!("{}", (1e6 * loss).round() / 1e6))
        .light_line_style(TRANSPARENT)
        .draw()?;
    let steps = |losses: Vec<f64>| (1..).zip(losses).collect::<Vec<_>>();
    let clipped = losses.iter().map(|loss| loss.max(smallest)).collect();
    chart.draw_series(LineSeries::new(steps(clipped), LOSS.mix(0.3)))?;
    chart.draw_series(LineSeries::new(steps(smooth(losses)), LOSS.stroke_width(2)))?;
    Ok(())
}

fn accuracy(history: &History, area: &Area<'_>) -> Result<()> {
    let lines =
        [("train", TRAIN, &history.train_accuracies), ("test", TEST, &history.test_accuracies)];
    let shares = || lines.iter().flat_map(|(_, _, shares)| shares.iter().copied());
    let (smallest, largest) = (shares().fold(1.0, f64::min), shares().fold(0.0, f64::max));
    let room = (0.1 * (largest - smallest)).max(1e-3);
    let epochs = history.test_accuracies.len().max(1);
    let mut chart = ChartBuilder::on(area)
        .caption("Accuracy", ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(62)
        .build_cartesian_2d(0.5..epochs as f64 + 0.5, smallest - room..largest + room)?;
    chart
        .configure_mesh()
        .x_desc("epoch")
        .x_labels(epochs.min(10))
        .x_label_formatter(&|epoch| match epoch.fract() == 0.0 {
            true => format!("{epoch}"),
            false => String::new(),
        })
        .y_label_formatter(&|share| format!("{:.1} %", 100.0 * share))
        .light_line_style(TRANSPARENT)
        .draw()?;
    for (label, color, shares) in lines {
        let points = || (1..).map(f64::from).zip(shares.iter().copied());
        chart
            .draw_series(LineSeries::new(points(), color.stroke_width(2)))?
            .label(label)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
        chart.draw_series(points().map(|point| Circle::new(point, 3, color.filled())))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.8))
        .draw()?;
    Ok(())
}

/// A running mean over about a thirtieth of the values, unbiased at the start.
fn smooth(values: &[f64]) -> Vec<f64> {
    let kept = 1.0 - 1.0 / (values.len() as f64 / 30.0).clamp(2.0, 50.0);
    let (mut mean, mut weight) = (0.0, 0.0);
    let smoothed = values.iter().map(|value| {
        mean = kept * mean + (1.0 - kept) * value;
        weight = kept * weight + (1.0 - kept);
        mean / weight
    });
    smoothed.collect()
}
