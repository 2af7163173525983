//! How many more can connect.

use std::time::Duration;

use tandem::effects::postgres::room;
use tandem::machine::facts::Limit;
use tandem_lab::{PostgresOptions, eventually, run};

use crate::scene::on_every_version;

#[test]
fn the_room_is_what_the_server_the_database_and_the_role_leave() {
    run(|lab| async move {
        let options = PostgresOptions::default()
            .setting("max_connections", "30")
            .setting("superuser_reserved_connections", "4");
        on_every_version(&lab, options, async |scene, version| {
            let (a, b) = (&scene.stage.pair.a, &scene.stage.pair.b);
            let asked = async || {
                let (user, other) = (&scene.b.user, &scene.a.user);
                room(&scene.server, &scene.admin, (user, other)).await.unwrap()
            };
            let server = |used| Limit {
                what: "max_connections less the reserved ones".into(),
                most: 26,
                used,
            };
            // The superuser's own session is the lab's, and the administrator's, which asks, does not count.
            let begin = eventually("sessions of before to end", Duration::from_secs(10), async || {
                let room = asked().await;
                Ok((room.connections == 0).then_some(room))
            })
            .await?;
            let others = begin.limits[0].used;
            assert_eq!(begin.limits, [server(others)], "{version}");

            scene
                .sql(&format!(
                    "ALTER DATABASE appdb CONNECTION LIMIT 7; ALTER ROLE {} CONNECTION LIMIT 5",
                    b.user
                ))
                .await?;
            let postgres = &scene.stage.postgres;
            let _old = postgres.connect_as(&a.user, &a.password, "appdb").await?;
            let _new = postgres.connect_as(&b.user, &b.password, "appdb").await?;
            let _elsewhere = postgres.connect_as(&b.user, &b.password, "postgres").await?;
            // What the session may see of others makes no difference.
            for right in ["GRANT", "REVOKE"] {
                let preposition = if right == "GRANT" { "TO" } else { "FROM" };
                scene
                    .sql(&format!("{right} pg_read_all_stats {preposition} rotator"))
                    .await?;
                let room = asked().await;
                let database = room.limits[1].used;
                assert!((2..=2 + others).contains(&database), "{version}: {room:?}");
                assert_eq!(
                    room.limits,
                    [
                        server(others + 3),
                        Limit {
                            what: "the connection limit of database appdb".into(),
                            most: 7,
                            used: database,
                        },
                        Limit {
                            what: format!("the connection limit of role {}", b.user),
                            most: 5,
                            used: 2,
                        },
                    ],
                    "{version}: {right}"
                );
                assert_eq!(room.connections, 3, "{version}: {right}");
            }
            scene.sql("GRANT pg_read_all_stats TO rotator").await?;
            Ok(())
        })
        .await
    });
}
