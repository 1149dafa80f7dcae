"""A source remembers the file that it came from, and a job what came of it beside its pictures."""

from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [("shopgen", "0003_rate_window")]

    operations = [
        migrations.AddField(
            model_name="job",
            name="result",
            field=models.JSONField(blank=True, default=dict, verbose_name="what came of it"),
        ),
        migrations.AddField(
            model_name="productimage",
            name="origin_sha256",
            field=models.CharField(
                blank=True, default="", max_length=64, verbose_name="SHA-256 of the file as it came in"
            ),
        ),
        migrations.AddIndex(
            model_name="productimage",
            index=models.Index(
                condition=~Q(origin_sha256=""), fields=["origin_sha256"], name="shopgen_image_origin"
            ),
        ),
    ]
