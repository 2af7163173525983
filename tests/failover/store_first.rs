//! Delivery through a store: the phases around the flip, where it is made of more writes.

use crate::place::{Place, Setup};
use crate::row::Held::{Killed, Replica};
use crate::row::Standby::{Behind, BehindSinceDelivery, Synced};
use crate::row::{Held, Matrix, Row, Standby, app, behind_names, two_servers};
use crate::scene::mortal;

// The writes of a rotation: 1 stage, 2 set_verifier, 3 propose, 4 flip, 5 sync, 6 deliver, 7 restart, 8 roll_out, 9 retire,
// 10 finish.
const ROWS: [(&str, Held, Standby, bool); 7] = [
    ("Altered", Replica, Behind, true),
    ("Verified", Killed("before", 3), Synced, false),
    ("Verified", Killed("after", 3), Synced, false),
    ("Flipped", Killed("after", 4), Synced, false),
    ("Flipped", Killed("after", 5), Synced, false),
    ("Delivered", Killed("after", 6), BehindSinceDelivery, false),
    ("Retired", Killed("after", 9), BehindSinceDelivery, true),
];

#[test]
fn fm21_through_a_store_a_failover_around_the_flip_costs_nobody_a_refused_password() {
    tandem_lab::run(|lab| async move {
        let (stage, mut servers) = two_servers(&lab, "stored").await?;
        let setup = Setup {
            policy: behind_names(&servers, true),
            controller: mortal(),
            ..Setup::default()
        };
        let mut place = Place::on(stage, setup).await?;
        place.ready().await?;
        let app = app(&place.scene, &servers, 1).await?;
        let mut matrix = Matrix::new("through a store");
        for (phase, held, standby, loses) in ROWS {
            let before = place.before().await?;
            let row = Row { phase, held, standby };
            matrix
                .play(&mut place.scene, &mut servers, &app, &row, loses)
                .await?;
            place.rotated(&before, &[]).await?;
        }
        matrix.print();
        Ok(())
    });
}
