//! The contract: what the documentation says, line by line, asked over the wire of the emulator, which keeps to all
//! of it, and of moto, whose differences are written down.
//!
//! A line is a small script that says what it saw. `documented` is what it has to see, and the page says so.

/// A line of the table: what it is about, the page, what is to be seen there, and the script, whose last value is what
/// was seen. A script that asks for the emulator besides the place is for that alone.
macro_rules! line {
    ($name:expr, $page:expr, $documented:expr, |$place:ident| $script:block) => {
        $crate::contract::Line::new($name, $page, $documented, |scene| {
            futures::FutureExt::boxed(async move {
                let $place = scene.place;
                $script
            })
        })
    };
    ($name:expr, $page:expr, $documented:expr, |$place:ident, $aws:ident| $script:block) => {
        $crate::contract::Line::new($name, $page, $documented, |scene| {
            futures::FutureExt::boxed(async move {
                let ($place, $aws) = (scene.place, scene.aws.expect("this line is not for moto"));
                $script
            })
        })
    };
}

mod labels;
mod life;
mod limits;
mod rights;
mod tokens;
mod values;

use std::net::Ipv4Addr;

use anyhow::Result;
use futures::future::BoxFuture;
use tandem_lab::aws::{AccessKey, Aws, Moto};

use crate::place::{Place, client};

/// One line of the contract.
pub(crate) struct Line {
    name: &'static str,
    /// What it rests on: a page of the API reference, or another one by its whole address.
    page: &'static str,
    script: fn(Scene) -> BoxFuture<'static, Result<String>>,
    documented: &'static str,
    moto: Opinion,
}

impl Line {
    fn new(
        name: &'static str,
        page: &'static str,
        documented: &'static str,
        script: fn(Scene) -> BoxFuture<'static, Result<String>>,
    ) -> Self {
        Self {
            name,
            page,
            script,
            documented,
            moto: Opinion::Same,
        }
    }

    fn but_moto_says(self, other: &'static str) -> Self {
        Self {
            moto: Opinion::Says(other),
            ..self
        }
    }

    fn not_for_moto(self, why: &'static str) -> Self {
        Self {
            moto: Opinion::NotAsked(why),
            ..self
        }
    }
}

/// What moto says to a line.
pub(crate) enum Opinion {
    /// The same.
    Same,
    /// Something else, and the documentation is against it.
    Says(&'static str),
    /// It cannot be asked, for this reason.
    NotAsked(&'static str),
}

/// What a script has to work with.
pub(crate) struct Scene {
    pub(crate) place: Place,
    /// The emulator, for lines that only it is asked.
    pub(crate) aws: Option<std::sync::Arc<Aws>>,
}

const REFERENCE: &str = "https://docs.aws.amazon.com/secretsmanager/latest/apireference/";

fn contract() -> impl Iterator<Item = Line> {
    [
        values::lines(),
        tokens::lines(),
        labels::lines(),
        life::lines(),
        limits::lines(),
        rights::lines(),
    ]
    .into_iter()
    .flatten()
}

fn place(endpoint: &str, key: &AccessKey, number: usize) -> Place {
    Place {
        client: client(endpoint, key),
        secret: format!("contract/line-{number}"),
    }
}

async fn differs(line: &Line, scene: Scene, expected: &str) -> Option<String> {
    let seen = (line.script)(scene)
        .await
        .unwrap_or_else(|error| format!("{error:#}"));
    let page = if line.page.starts_with("https:") {
        line.page.to_owned()
    } else {
        format!("{REFERENCE}{}.html", line.page)
    };
    (seen != expected).then(|| format!("- {}: saw «{seen}», not «{expected}» ({page})", line.name))
}

#[tokio::test]
async fn the_emulator_keeps_to_the_documentation() -> Result<()> {
    let aws = std::sync::Arc::new(Aws::start(Ipv4Addr::LOCALHOST.into())?);
    let mut different = Vec::new();
    for (number, line) in contract().enumerate() {
        let scene = Scene {
            place: place(&aws.endpoint(), aws.key(), number),
            aws: Some(aws.clone()),
        };
        different.extend(differs(&line, scene, line.documented).await);
    }
    assert!(different.is_empty(), "the emulator:\n{}", different.join("\n"));
    Ok(())
}

#[tokio::test]
async fn moto_differs_where_it_is_known_to_and_nowhere_else() -> Result<()> {
    let moto = Moto::start()?;
    let key = AccessKey {
        id: "anybody".to_owned(),
        secret: "anything".to_owned(),
    };
    let mut different = Vec::new();
    for (number, line) in contract().enumerate() {
        let expected = match line.moto {
            Opinion::Same => line.documented,
            Opinion::Says(other) => other,
            Opinion::NotAsked(_) => continue,
        };
        let scene = Scene {
            place: place(moto.endpoint(), &key, number),
            aws: None,
        };
        different.extend(differs(&line, scene, expected).await);
    }
    assert!(different.is_empty(), "moto:\n{}", different.join("\n"));
    Ok(())
}

#[test]
fn every_line_says_why() {
    for line in contract() {
        assert!(
            line.page.starts_with("API_") || line.page.starts_with("https://docs.aws.amazon.com/"),
            "{} rests on nothing",
            line.name
        );
        match line.moto {
            Opinion::Same => {}
            Opinion::Says(other) => assert_ne!(other, line.documented, "{} is no difference", line.name),
            Opinion::NotAsked(why) => assert!(!why.is_empty(), "{} is not asked for nothing", line.name),
        }
    }
}
