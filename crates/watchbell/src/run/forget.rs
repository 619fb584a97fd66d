//! Forgets the rows of look-backs that the config does not have any more: not at once, for a rename or a mistake in the
//! config must not cost a history that was months in the making.

use super::{
    Agent, clock,
    work::{Rows, SharedKit, current},
};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use watchbell_core::model::Name;

/// How often.
const EVERY: Duration = Duration::from_secs(3600);

/// The newest row of what is forgotten is older than this.
pub const FORGET_AFTER: Duration = Duration::from_secs(5 * 86_400);

/// Looks at the start and every hour, and does not end by itself.
pub async fn keep_house(agent: Agent, kit: SharedKit, rows: Arc<Rows>) {
    let mut hour = tokio::time::interval(EVERY);
    loop {
        hour.tick().await;
        // A check in a broken file is not gone.
        if agent.settings().problems.errors() > 0 || !rows.exist() {
            continue;
        }
        let programs = &current(&kit).programs;
        let there =
            programs.iter().filter(|(_, runnable)| runnable.lookback.as_ref().is_some_and(|look| look.value.is_none()));
        let there: BTreeSet<Name> = there.map(|(name, _)| name.clone()).collect();
        let before = clock::now() - FORGET_AFTER;
        let forgotten = match rows.open().await.cloned() {
            Ok(seen) => {
                let work = move || seen.forget_old(|name| !there.contains(name), before);
                tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(error.to_string()))
            }
            Err(why) => Err(why),
        };
        match forgotten {
            Ok(forgotten) => {
                forgotten.iter().for_each(|check| tracing::info!(%check, "its rows are forgotten: it is gone"))
            }
            Err(why) => tracing::error!("can't forget the rows of checks that are gone: {why}"),
        }
    }
}
