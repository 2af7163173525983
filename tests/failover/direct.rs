//! Direct delivery.

use std::time::Duration;

use anyhow::{Result, ensure};
use tandem_lab::Lab;

use crate::row::Held::{Killed, Lock, Replica, Session};
use crate::row::Standby::{Behind, BehindSinceDelivery, Synced};
use crate::row::{Held, Matrix, Row, Standby, app, behind_names, two_servers_scene};

// The writes of a rotation: 1 stage, 2 set_verifier, 3 flip, 4 restart, 5 roll_out, 6 retire, 7 finish.

/// A standby that has everything.
const UP_TO_DATE: [(&str, Held); 10] = [
    ("Prepared", Killed("before", 1)),
    ("Staged", Lock),
    ("Staged", Killed("before", 2)),
    ("Altered", Killed("after", 2)),
    ("Verified", Killed("before", 3)),
    ("Delivered", Killed("after", 3)),
    ("Restarted", Killed("after", 4)),
    ("RolledOut", Session),
    ("Drained", Killed("before", 6)),
    ("Retired", Killed("after", 6)),
];

/// A standby that receives nothing more, and whether it lacks a change of a password therefore. The policy names it
/// among its endpoints, so none is told a password that it does not know.
const LATE: [(&str, Held, Standby, bool); 6] = [
    ("Staged", Lock, Behind, false),
    ("Altered", Replica, Behind, true),
    ("Altered", Killed("after", 2), Behind, true),
    ("Restarted", Killed("after", 4), BehindSinceDelivery, false),
    ("RolledOut", Session, BehindSinceDelivery, false),
    ("Retired", Killed("after", 6), BehindSinceDelivery, true),
];

/// The same of a standby that no endpoint names, up to the first restart.
const LATE_AND_UNNAMED: [(&str, Held, Standby, bool); 2] = [
    ("Verified", Killed("before", 3), Behind, true),
    ("Delivered", Killed("after", 3), Behind, true),
];

/// Tandem notices within a second and sets the password again; the rest is the machine's.
const SOON: Duration = Duration::from_mins(1);

#[test]
fn fm21_a_failover_in_each_phase_costs_nobody_a_refused_password() {
    tandem_lab::run(|lab| async move { tokio::try_join!(up_to_date(&lab), late(&lab)).map(drop) });
}

async fn up_to_date(lab: &Lab) -> Result<()> {
    let (mut scene, mut servers) = two_servers_scene(lab, "synced").await?;
    let app = app(&scene, &servers, 1).await?;
    let mut matrix = Matrix::new("direct, up to date");
    for (phase, held) in UP_TO_DATE {
        let standby = Synced;
        let row = Row { phase, held, standby };
        matrix.play(&mut scene, &mut servers, &app, &row, false).await?;
    }
    matrix.print();
    Ok(())
}

async fn late(lab: &Lab) -> Result<()> {
    let (mut scene, mut servers) = two_servers_scene(lab, "late").await?;
    let app = app(&scene, &servers, 1).await?;
    let mut matrix = Matrix::new("direct, late");
    for (phase, held, standby, loses) in LATE {
        let row = Row { phase, held, standby };
        matrix.play(&mut scene, &mut servers, &app, &row, loses).await?;
    }
    scene.apply(behind_names(&servers, false)).await?;
    scene.ready().await?;
    for (phase, held, standby, loses) in LATE_AND_UNNAMED {
        let row = Row { phase, held, standby };
        matrix.play(&mut scene, &mut servers, &app, &row, loses).await?;
    }
    // The applications have the new password, and whoever takes over never heard of it: nobody could have known. What is
    // left to do is to make it good at once, and that is why such a standby should be named.
    let row = Row {
        phase: "RolledOut",
        held: Session,
        standby: Behind,
    };
    let played = matrix.note(&mut scene, &mut servers, &app, &row).await?;
    ensure!(
        played.lost && played.lasted < SOON.as_secs_f64(),
        "it took {} s",
        played.lasted
    );
    matrix.print();
    Ok(())
}
