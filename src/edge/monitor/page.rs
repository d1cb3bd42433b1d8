//! Writes metrics in the text forms that Prometheus reads.

use std::{collections::HashMap, fmt};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder},
    metrics::{MetricType, exemplar::Exemplar},
    registry::{Registry, Unit},
};

use crate::hub::meters::Histogram;

/// Labels of one row.
pub type Labels<'a> = &'a [(&'static str, &'a str)];
type NoExemplar<'a> = Option<&'a Exemplar<[(String, String); 0], f64>>;
type NoExemplars<'a> = Option<&'a HashMap<usize, Exemplar<[(String, String); 0], f64>>>;

/// The content types of the two forms.
pub const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
pub const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Microseconds of a second: times are measured in these and told in those.
const SECOND: f64 = 1_000_000.0;

/// A page under way.
pub struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    /// One number that goes up and down.
    pub fn gauge(&mut self, name: &str, help: &str, unit: Option<Unit>, value: f64) -> fmt::Result {
        self.gauges(name, help, unit, [([], value)])
    }

    /// Several of a kind.
    pub fn gauges<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        rows: impl IntoIterator<Item = ([(&'static str, &'l str); N], f64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?;
        rows.into_iter()
            .try_for_each(|(labels, value)| row(&mut family, &labels, |to| to.encode_gauge(&value)))
    }

    /// One number that only goes up.
    pub fn counter(&mut self, name: &str, help: &str, unit: Option<Unit>, value: f64) -> fmt::Result {
        self.counters(name, help, unit, [([], value)])
    }

    /// Several of a kind.
    pub fn counters<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        rows: impl IntoIterator<Item = ([(&'static str, &'l str); N], f64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, unit.as_ref(), MetricType::Counter)?;
        rows.into_iter().try_for_each(|(labels, value)| {
            row(&mut family, &labels, |to| to.encode_counter(&value, None as NoExemplar<'_>))
        })
    }

    /// How times spread; measured in microseconds, told in seconds.
    pub fn times<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = ([(&'static str, &'l str); N], &'l Histogram)>,
    ) -> fmt::Result {
        self.histograms(name, help, Some(Unit::Seconds), SECOND, rows)
    }

    /// How values spread; what is told is what was counted, divided by `by`.
    pub fn histograms<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        by: f64,
        rows: impl IntoIterator<Item = ([(&'static str, &'l str); N], &'l Histogram)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, unit.as_ref(), MetricType::Histogram)?;
        rows.into_iter().try_for_each(|(labels, histogram)| {
            let (sum, buckets) = histogram.read();
            let count = buckets.iter().map(|(_, count)| count).sum();
            let bound = |bound: Option<u64>| bound.map_or(f64::MAX, |bound| bound as f64 / by);
            let buckets: Vec<_> = buckets.into_iter().map(|(b, count)| (bound(b), count)).collect();
            let sum = sum as f64 / by;
            row(&mut family, &labels, |to| to.encode_histogram(sum, count, &buckets, None as NoExemplars<'_>))
        })
    }
}

fn row(
    family: &mut MetricEncoder<'_>,
    labels: Labels<'_>,
    write: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result,
) -> fmt::Result {
    if labels.is_empty() {
        return write(family);
    }
    write(&mut family.encode_family(&labels)?)
}

/// Something that fills pages.
pub trait Fill: Send + Sync + 'static {
    /// Writes its metrics.
    fn fill(&self, page: &mut Page<'_>) -> fmt::Result;
}

struct Filled<F>(F);

impl<F> fmt::Debug for Filled<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Filled")
    }
}

impl<F: Fill> Collector for Filled<F> {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.0.fill(&mut Page(encoder))
    }
}

/// The whole page, as OpenMetrics or in the classic form.
pub fn print(fill: impl Fill, open_metrics: bool) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Filled(fill)));
    let mut text = String::new();
    match open_metrics {
        true => prometheus_client::encoding::text::encode(&mut text, &registry)?,
        false => prometheus_client::encoding::prometheus_text::encode(&mut text, &registry)?,
    }
    Ok(text)
}
