from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("shopgen", "0002_workers")]

    operations = [
        migrations.CreateModel(
            name="RateWindow",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("scope", models.CharField(max_length=32, verbose_name="kind of request")),
                ("key", models.CharField(max_length=64, verbose_name="who")),
                ("window", models.BigIntegerField(verbose_name="number of the window since 1970")),
                ("count", models.PositiveBigIntegerField(default=0, verbose_name="used")),
            ],
            options={
                "verbose_name": "rate window",
                "verbose_name_plural": "rate windows",
                "default_permissions": (),
                "constraints": [
                    models.UniqueConstraint(fields=("scope", "key"), name="shopgen_rate_window_once"),
                ],
            },
        ),
    ]
