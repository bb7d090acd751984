//! The picture: hit rate by size of the cache, one colour for each zone.

use std::path::Path;

use anyhow::{Context, Result};
use plotters::coord::Shift;
use plotters::prelude::*;

use super::measure::Hits;
use super::{Curve, SIZES};

/// Width and height in pixels.
const PICTURE: (u32, u32) = (800, 500);
/// One for each zone; both are told apart in grey, too.
const COLOURS: [RGBColor; 2] = [RGBColor(200, 80, 20), RGBColor(20, 80, 160)];
const FONT: &str = "sans-serif";

/// Writes it.
pub(super) fn write(file: &Path, curves: &[Curve], redis_times: u32) -> Result<()> {
    let area = SVGBackend::new(file, PICTURE).into_drawing_area();
    draw(&area, curves, redis_times).with_context(|| format!("{} cannot be drawn", file.display()))
}

fn draw(area: &DrawingArea<SVGBackend<'_>, Shift>, curves: &[Curve], redis_times: u32) -> Result<()> {
    area.fill(&WHITE)?;
    let (first, last) = (SIZES[0], SIZES[SIZES.len() - 1]);
    let mut chart = ChartBuilder::on(area)
        .caption("Small reads answered by the cache", (FONT, 20))
        .margin(15)
        .x_label_area_size(45)
        .y_label_area_size(55)
        .build_cartesian_2d(
            (first * 0.9..last * 1.1).log_scale().with_key_points(SIZES.to_vec()),
            0.0..100.0,
        )?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc("memory of the process, % of all small content")
        .y_desc("hit rate, %")
        .x_label_formatter(&|size| format!("{size}"))
        .y_label_formatter(&|rate| format!("{rate:.0}"))
        .label_style((FONT, 14))
        .draw()?;
    for (curve, colour) in curves.iter().zip(COLOURS) {
        let points = |part: fn(&Hits) -> f64| {
            curve.points.iter().map(move |point| (point.size, 100.0 * part(&point.hits)))
        };
        chart
            .draw_series(LineSeries::new(points(|hits| hits.memory), colour.stroke_width(2)).point_size(3))?
            .label(format!("{}: in the process", curve.zone.name))
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour.stroke_width(2)));
        let pale = colour.mix(0.45).stroke_width(2);
        chart
            .draw_series(LineSeries::new(points(|hits| hits.both), pale).point_size(3))?
            .label(format!("{}: with a Redis of {redis_times} times that", curve.zone.name))
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], pale));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE)
        .border_style(BLACK.mix(0.3))
        .label_font((FONT, 14))
        .draw()?;
    area.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::replay::Point;
    use crate::replay::shape::ZONES;

    #[test]
    fn the_picture_has_a_line_for_each_tier_of_each_zone_and_its_words_as_text() {
        let curves = ZONES.map(|zone| Curve {
            zone,
            exponent: 1.0,
            top_of_layers: zone.top,
            points: SIZES
                .map(|size| Point {
                    size,
                    memory: 1,
                    hits: Hits { memory: size / 200.0, both: size / 100.0, reads: 1.0 },
                })
                .into(),
        });
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("picture.svg");
        write(&file, &curves, 10).expect("it can be drawn");
        let text = fs::read_to_string(&file).expect("it was written");
        for zone in ZONES {
            assert!(text.contains(&format!("{}: in the process", zone.name)), "{text}");
            assert!(text.contains(&format!("{}: with a Redis", zone.name)), "{text}");
        }
        // A point is drawn for each size of each line.
        assert_eq!(text.matches("<circle").count(), 4 * SIZES.len());
        assert!(text.contains("of all small content"));
    }
}
